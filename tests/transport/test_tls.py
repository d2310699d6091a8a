"""TLS over memory, against OpenSSL's own server side over memory."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest

from pika.transport.tls import TLS
from tests.support.certificates import SEES_TRUNCATION, Authority, Certificate


class Pair:
    """A client under test and a server, joined by hand."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, hostname: str = "localhost") -> None:
        self.client = TLS(client, hostname)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.server = server.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def carry(self) -> None:
        self.incoming.write(self.client.take_output())
        self.client.receive(self.outgoing.read())

    def shake_hands(self) -> None:
        done = False
        for _ in range(10):
            done = self.client.do_handshake()
            self.carry()
            try:
                self.server.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                if done:
                    self.carry()
                    return
            self.carry()
        raise AssertionError("the handshake does not end")


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(request: pytest.FixtureRequest, authority: Authority, server: Certificate) -> Pair:
    context = authority.server_context(server)
    context.minimum_version = context.maximum_version = request.param
    return Pair(authority.client_context(), context)


def test_both_directions(pair: Pair) -> None:
    pair.shake_hands()
    assert pair.client.do_handshake()
    pair.client.plaintext.append(b"to the server")
    pair.carry()
    assert pair.server.read(100) == b"to the server"
    pair.server.write(b"to the client")
    pair.carry()
    assert pair.client.read(100) == b"to the client"
    assert pair.client.read(100) == b""
    assert not pair.client.eof


def test_what_is_written_before_the_handshake_ends_goes_out_after_it(pair: Pair) -> None:
    pair.client.plaintext.append(b"early ")
    pair.client.plaintext.append(b"bird")
    assert sum(map(len, pair.client.plaintext)) == 10
    assert not pair.client.has_output
    pair.shake_hands()
    assert not pair.client.plaintext
    pair.carry()
    assert pair.server.read(100) == b"early bird"


def test_read_keeps_to_its_limit_and_spans_records(pair: Pair) -> None:
    pair.shake_hands()
    sent = bytes(range(256)) * 256
    for start in range(0, len(sent), 16384):
        pair.server.write(sent[start : start + 16384])
    pair.carry()
    assert pair.client.read(7) == sent[:7]
    assert pair.client.read(40_000) == sent[7:40_007]
    assert pair.client.read(1 << 20) == sent[40_007:]


def test_a_large_write_is_encrypted_as_its_output_is_taken(pair: Pair) -> None:
    pair.shake_hands()
    sent = bytes(range(256)) * 16384
    pair.client.plaintext.append(sent)
    received = bytearray()
    largest = 0
    while len(received) < len(sent):
        output = pair.client.take_output()
        largest = max(largest, len(output))
        assert output
        pair.incoming.write(output)
        while True:
            try:
                received += pair.server.read(1 << 20)
            except ssl.SSLWantReadError:
                break
    assert received == sent
    assert largest < 512 * 1024
    assert not pair.client.plaintext


def test_close_notify_is_the_end(pair: Pair) -> None:
    pair.shake_hands()
    pair.server.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    pair.carry()
    assert pair.client.read(100) == b"last words"
    assert pair.client.read(100) == b""
    assert pair.client.eof and not pair.client.truncated


def test_eof_without_close_notify_is_the_end_too(pair: Pair) -> None:
    pair.shake_hands()
    pair.server.write(b"last words")
    pair.carry()
    pair.client.receive_eof()
    assert pair.client.read(100) == b"last words"
    assert pair.client.read(100) == b""
    assert pair.client.eof and pair.client.truncated is SEES_TRUNCATION


def test_shutdown_says_goodbye(pair: Pair) -> None:
    pair.shake_hands()
    pair.client.shutdown()
    pair.carry()
    assert pair.server.read(100) == b""


def test_shutdown_in_the_middle_of_a_handshake_is_harmless(pair: Pair) -> None:
    assert not pair.client.do_handshake()
    pair.client.shutdown()


def test_damaged_ciphertext_is_an_error_after_what_came_before_it(pair: Pair) -> None:
    pair.shake_hands()
    pair.server.write(b"good")
    good = pair.outgoing.read()
    pair.server.write(b"bad")
    damaged = bytearray(pair.outgoing.read())
    damaged[-1] ^= 1
    pair.client.receive(good + damaged)
    assert pair.client.read(100) == b"good"
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            pair.client.read(100)


def test_an_acceptable_certificate_for_another_name(authority: Authority, server: Certificate) -> None:
    pair = Pair(authority.client_context(), authority.server_context(server), "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        pair.shake_hands()
    hint = pair.client.explain(caught.value)
    assert "'elsewhere.example'" in hint
    assert "ostname mismatch" in hint


def test_errors_that_explain_nothing_more(authority: Authority) -> None:
    client = TLS(authority.client_context(), "localhost")
    assert client.explain(ssl.SSLError(1, "something new")) == ""


def test_a_plain_connection_does_not_import_ssl() -> None:
    code = (
        "import sys, pika; before = 'ssl' in sys.modules; "
        "import pika.transport.stream, pika.transport.dial, pika.transport.timers; "
        "sys.exit('pika.transport.tls' in sys.modules or ('ssl' in sys.modules) != before)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
