"""TLS without a socket: ciphertext in, plaintext out, and the other way round. Loaded only where TLS is used."""

from __future__ import annotations

import ssl
from collections import deque

from pika.transport.pieces import Buffer, take_next

# The most plaintext that one TLS record carries (RFC 8446, section 5.1).
_RECORD = 16384
# So much is encrypted at once: what waits is not held twice, as plaintext and as ciphertext.
_OUTPUT_LIMIT = 16 * _RECORD

# OpenSSL's names for what an answer looks like that is no TLS record.
_NOT_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE")
)


# What an EOF without close-notify is called by Python 3.9 with OpenSSL 3, where others raise SSLEOFError.
_RAGGED_EOF = "UNEXPECTED_EOF_WHILE_READING"


class TLS:
    """The client side of one TLS connection, over memory.

    :param context: says which certificates and versions are acceptable
    :param server_hostname: the name to ask for (SNI) and to find in the certificate; None for no name
    """

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self.server_hostname = server_hostname
        #: True once the peer has ended the stream, by close-notify or by EOF, and all before it was read.
        self.eof = False
        #: True when that was an EOF alone: anybody on the way can have cut the stream off.
        self.truncated = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        #: What waits to be encrypted: append bytes for the peer. They are not copied before :meth:`take_output`.
        self.plaintext: deque[Buffer] = deque()
        #: How many bytes of it were encrypted.
        self.taken = 0
        #: Whether plaintext waits for something from the peer, and not for room.
        self.wants_read = False
        #: Why reading failed, for good.
        self.read_error: ssl.SSLError | None = None
        self._established = False

    @property
    def has_output(self) -> bool:
        """Whether there is ciphertext for the peer already."""
        return self._outgoing.pending > 0

    def do_handshake(self) -> bool:
        """Go on with the handshake.

        :returns: True once it is complete; until then send the output and receive more
        :raises ssl.SSLError: the peer, or its certificate, is not acceptable, or does not accept us; send the
            output, which tells the peer why
        """
        if not self._established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return False
            self._established = True
        return True

    def receive(self, ciphertext: bytes) -> None:
        """Take bytes that came from the peer."""
        self.wants_read = False
        self._incoming.write(ciphertext)

    def receive_eof(self) -> None:
        """Take note that no more bytes come from the peer."""
        self._incoming.write_eof()

    def read(self, limit: int) -> bytes:
        """Give up to ``limit`` bytes of plaintext.

        :returns: b"" when there is none now; :attr:`eof` says whether there ever will be
        :raises ssl.SSLError: the peer broke the rules, or says that we did
        """
        if self.read_error is not None:
            raise self.read_error
        parts: list[bytes] = []
        left = limit
        while left > 0 and not self.eof:
            try:
                data = self._object.read(min(left, _RECORD))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                self.eof = True
                break
            except ssl.SSLError as error:
                if isinstance(error, ssl.SSLEOFError) or error.reason == _RAGGED_EOF:
                    self.eof = self.truncated = True
                    break
                self.read_error = error
                if not parts:
                    raise
                break
            if not data:
                self.eof = True
            parts.append(data)
            left -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_output(self) -> bytes:
        """Encrypt what waits, up to a bound, and give the ciphertext to send to the peer now; b"" if there is none.

        Before the handshake is complete that is the handshake's, and plaintext goes on waiting.

        :raises ssl.SSLError: the connection is broken
        """
        plaintext, outgoing = self.plaintext, self._outgoing
        while plaintext and self._established and outgoing.pending < _OUTPUT_LIMIT:
            record = take_next(plaintext)
            if len(record) > _RECORD:
                view = memoryview(record)
                plaintext.appendleft(view[_RECORD:])
                record = view[:_RECORD]
            try:
                taken = self._object.write(record)
            except ssl.SSLWantReadError:
                # The peer wants a new handshake first (TLS 1.2).
                self.wants_read = True
                taken = 0
            self.taken += taken
            if taken < len(record):
                plaintext.appendleft(memoryview(record)[taken:])
                break
        return outgoing.read()

    def shutdown(self) -> None:
        """Add a close-notify to the output if the state of the connection allows it."""
        # ValueError and OSError of other kinds: a handshake that never ended has nothing to shut down.
        try:
            self._object.unwrap()
        except (OSError, ValueError):
            return

    def explain(self, error: OSError) -> str:
        """As :func:`explain`, for this connection."""
        return explain(error, self.server_hostname, self._established)


def explain(error: OSError, server_hostname: str | None, established: bool = False) -> str:
    """Say what the user can do about an error of the handshake, or of reading; "" if we do not know.

    :param error: the error
    :param server_hostname: the name that was asked for
    :param established: whether the handshake was over for this side; with TLS 1.3 the peer may refuse us after that
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the peer was not accepted for {server_hostname!r} ({error.verify_message}); "
            "check its names and dates, and that the SSLContext trusts the CA that issued it"
        )
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE" in reason or reason in ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA"):
        return "the peer did not accept us: it may want a client certificate it trusts (SSLContext.load_cert_chain)"
    if established:
        return ""
    if reason in _NOT_TLS:
        return "the peer does not speak TLS: is this the plain port? amqps is usually 5671"
    hung_up = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or reason == _RAGGED_EOF
    if hung_up or not isinstance(error, ssl.SSLError):
        return "the peer hung up during the handshake: it may not speak TLS (amqps is usually 5671), or refuse us"
    if "VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return "no TLS version in common: see minimum_version and maximum_version of the SSLContext"
    return ""
