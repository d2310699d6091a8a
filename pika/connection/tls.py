"""TLS as a connection parameter; the module :mod:`ssl` is loaded only where there are options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import ssl


class SSLOptions:
    """What TLS needs besides host and port.

    :param context: made, as a rule, by :func:`ssl.create_default_context`
    :param server_hostname: the name to send (SNI) and to find in the broker's certificate; the default is the host
    :raises TypeError: if ``context`` is no :class:`ssl.SSLContext`
    """

    __slots__ = ("context", "server_hostname")

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None = None) -> None:
        # Imported here, so that a program without TLS does not load it.
        import ssl

        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"context must be of ssl.SSLContext type, but got {context!r}")
        self.context = context
        self.server_hostname = server_hostname


def default_options() -> SSLOptions:
    """Give options that verify the broker's certificate and name against the system's authorities."""
    import ssl

    return SSLOptions(ssl.create_default_context())


# The options that may stand in a URL's `ssl_options`. The first name of each is Python's in the `ssl` module; the
# second is of older versions of it. The last two configured a socket wrapper that is not used here, and mean nothing.
_NAMES = {
    "cafile": "cafile",
    "ca_certs": "cafile",
    "capath": "capath",
    "ca_path": "capath",
    "cadata": "cadata",
    "ca_data": "cadata",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "password": "password",
    "ciphers": "ciphers",
    "server_hostname": "server_hostname",
    "protocol": "protocol",
    "ssl_version": "protocol",
    "verify_mode": "verify_mode",
    "cert_reqs": "verify_mode",
    "check_hostname": "check_hostname",
    "do_handshake_on_connect": "",
    "suppress_ragged_eofs": "",
}

# `ssl.PROTOCOL_...` as a number -> the one version that it allows, or None where it negotiates.
_PROTOCOLS = {2: None, 16: None, 3: "TLSv1", 4: "TLSv1_1", 5: "TLSv1_2"}


def options_from_dictionary(given: dict[Any, Any]) -> SSLOptions:
    """Build options from the ``ssl_options`` of a URL.

    The broker's certificate and name are verified unless ``verify_mode`` or ``check_hostname`` say otherwise.

    :param given: keys of ``cafile``, ``capath``, ``cadata``, ``certfile``, ``keyfile``, ``password``, ``ciphers``,
        ``protocol``, ``verify_mode``, ``check_hostname``, ``server_hostname``, each as in the module :mod:`ssl`
    :raises ValueError: for an unknown key or a value that is not allowed
    :raises TypeError: for a value of a wrong type
    :raises OSError: if a file cannot be read, or (:class:`ssl.SSLError`) holds no certificate or key
    """
    import ssl

    chosen = _canonical(given)
    server_hostname = chosen.get("server_hostname")
    if not isinstance(server_hostname, (str, type(None))):
        raise TypeError(f"ssl_options: server_hostname must be a str or None, but got {server_hostname!r}")
    authorities = {name: chosen[name] for name in ("cafile", "capath", "cadata") if name in chosen}
    source = ", ".join(authorities) or "the system's authorities"
    context = _loading(source, lambda: ssl.create_default_context(**authorities))
    _set_version(context, chosen.get("protocol"))
    _set_verification(context, chosen.get("verify_mode"), chosen.get("check_hostname"))
    if "certfile" in chosen:
        _loading("certfile, keyfile", lambda: _load_certificate(context, chosen))
    if "ciphers" in chosen:
        _loading("ciphers", lambda: context.set_ciphers(chosen["ciphers"]))
    return SSLOptions(context, server_hostname)


def _canonical(given: dict[Any, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key, value in given.items():
        name = _NAMES.get(key)
        if name is None:
            raise ValueError(f"ssl_options: unknown option {key!r}; allowed are {', '.join(_NAMES)}")
        if name and value is not None:
            chosen.setdefault(name, value)
    return chosen


def _loading(names: str, load: Callable[[], Any]) -> Any:
    """Call ``load``, and let its errors say which options they are about, without the values: one may be a secret."""
    import ssl

    try:
        return load()
    except ssl.SSLError as error:
        # Some have a text without a number, which str() would show as a tuple.
        raise ssl.SSLError(error.errno, f"ssl_options: cannot use {names}: {error.args[-1]}") from error
    except OSError as error:
        # With a number and a text, OSError picks the right subclass: FileNotFoundError and its siblings.
        raise OSError(error.errno, f"ssl_options: cannot use {names}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"ssl_options: cannot use {names}: {error}") from error


def _load_certificate(context: ssl.SSLContext, chosen: dict[str, Any]) -> None:
    def refuse() -> str:
        # Without this, OpenSSL would ask the terminal and wait for ever.
        raise ValueError("the key is encrypted; give its password as the option 'password'")

    context.load_cert_chain(chosen["certfile"], chosen.get("keyfile"), chosen.get("password", refuse))


def _set_version(context: ssl.SSLContext, protocol: object) -> None:
    import ssl

    if protocol is None:
        return
    if not isinstance(protocol, int):
        raise TypeError(f"ssl_options: protocol must be the number of an ssl.PROTOCOL_ constant, but got {protocol!r}")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"ssl_options: protocol must be one of {sorted(_PROTOCOLS)}, but got {protocol!r}")
    version = _PROTOCOLS[protocol]
    if version is not None:
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]


def _set_verification(context: ssl.SSLContext, verify_mode: object, check_hostname: object) -> None:
    import ssl

    names = {mode.name: mode for mode in ssl.VerifyMode}
    numbers = {int(mode): mode for mode in ssl.VerifyMode}
    if check_hostname is not None:
        if check_hostname not in (True, False):
            raise ValueError(f"ssl_options: check_hostname must be True or False, but got {check_hostname!r}")
        context.check_hostname = bool(check_hostname)
    if verify_mode is None:
        return
    if isinstance(verify_mode, str):
        mode = names.get(verify_mode)
    else:
        mode = numbers.get(verify_mode) if isinstance(verify_mode, int) else None
    if mode is None:
        allowed = ", ".join(f"{number} ({name})" for name, number in names.items())
        raise ValueError(f"ssl_options: verify_mode must be one of {allowed}, but got {verify_mode!r}")
    if mode == ssl.CERT_NONE:
        if check_hostname:
            raise ValueError("ssl_options: check_hostname=True needs a verify_mode other than CERT_NONE")
        context.check_hostname = False
    context.verify_mode = mode
