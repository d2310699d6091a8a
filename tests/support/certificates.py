"""A certificate authority for tests, made with the ``openssl`` program."""

from __future__ import annotations

import itertools
import ssl
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


#: Whether a stream without close-notify can be told from one with it: Python 3.9 has OpenSSL 3 take them for the same
#: (SSL_OP_IGNORE_UNEXPECTED_EOF).
SEES_TRUNCATION = not ssl.create_default_context().options & 0x80


class Certificate(NamedTuple):
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """A CA that issues certificates to servers and clients.

    :param directory: where the files go; it exists
    :param name: the common name, and the names of the files
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._name = name
        self._serial = itertools.count(1)
        self._ca = Certificate(directory / f"{name}.pem", directory / f"{name}-key.pem")
        extension = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._openssl("req", "-x509", *_KEY, "-days", "30", "-subj", f"/CN={name}", *extension, *self._out(self._ca))

    @property
    def cert(self) -> Path:
        """The certificate of the CA itself."""
        return self._ca.cert

    def issue(self, name: str, *, hosts: Sequence[str] = _LOOPBACK, expired: bool = False) -> Certificate:
        """Issue a certificate, good for servers and clients.

        :param name: the common name, and the names of the files
        :param hosts: the host names and addresses that the certificate is for
        :param expired: its time is over
        """
        issued = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}-key.pem")
        request, extensions = (self._directory / f"{name}{suffix}" for suffix in (".csr", ".ext"))
        names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts)
        extensions.write_text(
            f"subjectAltName={names}\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        self._openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", str(issued.key), "-out", str(request))
        signer = ("-CA", str(self._ca.cert), "-CAkey", str(self._ca.key), "-set_serial", str(next(self._serial)))
        days = ("-days", "-1" if expired else "30")
        made = ("-extfile", str(extensions), "-in", str(request), "-out", str(issued.cert))
        self._openssl("x509", "-req", *signer, *days, *made)
        return issued

    def encrypt(self, certificate: Certificate, password: str) -> Certificate:
        """The same certificate with its private key encrypted, in a file of its own."""
        key = certificate.key.with_suffix(".encrypted.pem")
        self._openssl("pkey", "-in", str(certificate.key), "-aes256", "-passout", f"pass:{password}", "-out", str(key))
        return Certificate(certificate.cert, key)

    def hashed(self) -> Path:
        """A directory that has the certificate of the CA under the name by which OpenSSL looks for it."""
        directory = self._directory / f"{self._name}-hashed"
        directory.mkdir(exist_ok=True)
        (directory / self.cert.name).write_bytes(self.cert.read_bytes())
        self._openssl("rehash", str(directory))
        return directory

    def server_context(self, certificate: Certificate, *, ask_client: bool = False) -> ssl.SSLContext:
        """A context for a server; with ``ask_client`` it demands a client certificate of this CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(certificate.cert), str(certificate.key))
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(str(self.cert))
        return context

    def client_context(self, certificate: Certificate | None = None) -> ssl.SSLContext:
        """A context for a client that trusts this CA and no other, with a client certificate if one is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(self.cert))
        if certificate is not None:
            context.load_cert_chain(str(certificate.cert), str(certificate.key))
        return context

    @staticmethod
    def _out(certificate: Certificate) -> tuple[str, ...]:
        return "-keyout", str(certificate.key), "-out", str(certificate.cert)

    @staticmethod
    def _openssl(*arguments: str) -> None:
        done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {' '.join(arguments)} failed: {done.stderr}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
