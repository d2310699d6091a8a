"""TLS without a socket: ciphertext in, plaintext out, and the other way round. The one place that imports ssl."""

from __future__ import annotations

import ssl

from pika.transport.backlog import Backlog, Buffer

# The most plaintext that one TLS record carries (RFC 8446, section 5.1).
_RECORD = 16384
# So much ciphertext may wait to be taken before more plaintext is encrypted.
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
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._plaintext = Backlog()
        self._established = False
        self._read_error: ssl.SSLError | None = None
        #: ``take_output() -> bytes``: the ciphertext to send to the peer now. Built in, hence indivisible for signals.
        self.take_output = self._outgoing.read

    @property
    def has_output(self) -> bool:
        """Whether :meth:`take_output` has bytes to give."""
        return self._outgoing.pending > 0

    @property
    def pending(self) -> int:
        """How many bytes of plaintext wait to be encrypted."""
        return self._plaintext.size

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
            self.encrypt()
        return True

    def receive(self, ciphertext: bytes) -> None:
        """Take bytes that came from the peer."""
        self._incoming.write(ciphertext)

    def receive_eof(self) -> None:
        """Take note that no more bytes come from the peer."""
        self._incoming.write_eof()

    def read(self, limit: int) -> bytes:
        """Give up to ``limit`` bytes of plaintext.

        :returns: b"" when there is none now; :attr:`eof` says whether there ever will be
        :raises ssl.SSLError: the peer broke the rules, or says that we did
        """
        if self._read_error is not None:
            raise self._read_error
        parts: list[bytes] = []
        left = limit
        while left > 0 and not self.eof:
            try:
                data = self._object.read(min(left, _RECORD))
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self.eof = True
                break
            except ssl.SSLError as error:
                if error.reason == _RAGGED_EOF:
                    self.eof = True
                    break
                self._read_error = error
                if not parts:
                    raise
                break
            if not data:
                self.eof = True
            parts.append(data)
            left -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, plaintext: Buffer) -> None:
        """Take bytes for the peer. What cannot be encrypted yet, waits; it is not copied."""
        self._plaintext.append(plaintext)
        self.encrypt()

    def encrypt(self) -> None:
        """Turn waiting plaintext into output, as far as the handshake and the bound on untaken output allow.

        :raises ssl.SSLError: the connection is broken
        """
        plaintext, outgoing = self._plaintext, self._outgoing
        while self._established and outgoing.pending < _OUTPUT_LIMIT and plaintext.prune():
            record = plaintext.first(_RECORD)
            before, position = outgoing.pending, plaintext.position[0]
            try:
                plaintext.hand(self._object.write, record)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError:
                raise
            except BaseException:
                # A signal handler has raised, perhaps after the record was made: then it is in the output.
                if outgoing.pending > before and plaintext.position[0] == position:
                    plaintext.position.append(position + len(record))
                raise

    def shutdown(self) -> None:
        """Add a close-notify to the output if the state of the connection allows it."""
        # ValueError and OSError of other kinds: a handshake that never ended has nothing to shut down.
        try:
            self._object.unwrap()
        except (OSError, ValueError):
            return

    def explain(self, error: OSError) -> str:
        """Say what the user can do about an error of the handshake, or of reading; "" if we do not know."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the certificate of the peer was not accepted for {self.server_hostname!r} ({error.verify_message}); "
                "check its names and dates, and that the SSLContext trusts the CA that issued it"
            )
        reason = getattr(error, "reason", None) or ""
        if reason in _NOT_TLS:
            return "the peer does not speak TLS: is this the plain port? amqps is usually 5671"
        hung_up = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or reason == _RAGGED_EOF
        if hung_up or not isinstance(error, ssl.SSLError):
            return "the peer hung up during the handshake: it may not speak TLS (amqps is usually 5671), or refuse us"
        if "CERTIFICATE" in reason or reason in ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA"):
            return "the peer did not accept us: it may want a client certificate it trusts (SSLContext.load_cert_chain)"
        if "VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
            return "no TLS version in common: see minimum_version and maximum_version of the SSLContext"
        return ""
