"""A RabbitMQ node that also speaks TLS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pika
from tests.support.certificates import Authority
from tests.support.ports import LOOPBACK, free_ports
from tests.support.rabbitmq import RabbitMQ

# Erlang: do something with the TLS of every running connection, many times. Its `ssl` wants a socket's record, which
# is two processes under a supervisor of their own. Connections that are over may linger, and would never answer.
_WITH_EACH_SOCKET = """
Infos = [rabbit_reader:info(Reader, [state, peer_port]) || Reader <- rabbit_networking:connections()],
Ports = [Port || [{{state, running}}, {{peer_port, Port}}] <- Infos],
Senders = [P || P <- processes(), proc_lib:translate_initial_call(P) =:= {{tls_sender, init, 1}}],
Sockets = [begin
    {{dictionary, Dictionary}} = process_info(Sender, dictionary),
    Parent = hd(proplists:get_value('$ancestors', Dictionary)),
    [Receiver] = [P || {{_, P, _, _}} <- supervisor:which_children(Parent), P =/= Sender],
    {{sslsocket, nil, [Receiver, Sender]}}
end || Sender <- Senders,
       {{_, Data}} <- [sys:get_state(Sender)],
       Tcp <- tuple_to_list(element(2, Data)),
       is_port(Tcp),
       {{ok, {{_, Port}}}} <- [inet:peername(Tcp)],
       lists:member(Port, Ports)],
lists:usort([begin timer:sleep({pause}), {call} end || _ <- lists:seq(1, {times}), Socket <- Sockets]).
"""

#: The common name of client certificates that the node takes for a user of that name, who has no password.
CERTIFIED_USER = "certified"


# In one command instead of four, which take a second each.
_ADD_CERTIFIED_USER = f"""
User = <<"{CERTIFIED_USER}">>, Who = <<"tests">>, All = <<".*">>,
rabbit_auth_backend_internal:exists(User) orelse begin
    ok = rabbit_auth_backend_internal:add_user(User, <<"for a moment">>, Who),
    ok = rabbit_auth_backend_internal:clear_password(User, Who),
    ok = rabbit_auth_backend_internal:set_permissions(User, <<"/">>, All, All, All, Who)
end.
"""


class SecureRabbitMQ(RabbitMQ):
    """A private node with a second listener, for TLS, where clients may log in with a certificate (EXTERNAL).

    :param directory: where the certificates go; it exists
    :param demand_certificate: refuse clients without a certificate; otherwise they are asked for one, and may have none
    :param versions: the versions of TLS that it speaks, in RabbitMQ's words, e.g. ``tlsv1.2``; all it has without
    """

    def __init__(self, directory: Path, *, demand_certificate: bool = False, versions: Sequence[str] = ()) -> None:
        self.authority = Authority(directory)
        certificate = self.authority.issue("server")
        (self.tls_port,) = free_ports(1)
        config = (
            f"listeners.ssl.default = {LOOPBACK}:{self.tls_port}",
            f"ssl_options.cacertfile = {self.authority.cert}",
            f"ssl_options.certfile = {certificate.cert}",
            f"ssl_options.keyfile = {certificate.key}",
            "ssl_options.verify = verify_peer",
            f"ssl_options.fail_if_no_peer_cert = {str(demand_certificate).lower()}",
            *(f"ssl_options.versions.{number} = {version}" for number, version in enumerate(versions, 1)),
            "ssl_cert_login_from = common_name",
            *(f"auth_mechanisms.{number} = {name}" for number, name in enumerate(("PLAIN", "AMQPLAIN", "EXTERNAL"), 1)),
        )
        super().__init__(config, ("rabbitmq_auth_mechanism_ssl",))

    def __enter__(self) -> SecureRabbitMQ:
        self.start()
        return self

    def start(self) -> None:
        """Start the node, with a user :data:`CERTIFIED_USER` who can log in with a certificate alone."""
        super().start()
        self.ctl("eval", _ADD_CERTIFIED_USER)

    @property
    def tls_url(self) -> str:
        """The URL of the listener with TLS; whoever uses it has to trust the authority."""
        return f"amqps://guest:guest@{LOOPBACK}:{self.tls_port}/%2F"

    def tls_parameters(self, **attributes: Any) -> pika.ConnectionParameters:
        """Return new connection parameters for the listener with TLS, with `attributes` given to them."""
        options = pika.SSLOptions(self.authority.client_context(), "localhost")
        return pika.ConnectionParameters(LOOPBACK, self.tls_port, ssl_options=options, **attributes)

    def update_keys(self, times: int, *, both: bool = True, pause: int = 5) -> str:
        """Have it change the keys of every running connection with TLS 1.3.

        :param times: how many times
        :param both: ask the clients to change theirs too
        :param pause: milliseconds before each
        :returns: the different results, in Erlang's words: ``[ok]`` if all went well
        """
        kind = "read_write" if both else "write"
        return self._with_each_socket(f"ssl:update_keys(Socket, {kind})", times, pause)

    def renegotiate(self, times: int, *, pause: int = 5) -> str:
        """Have it ask for a new handshake on every running connection with TLS 1.2; else as :meth:`update_keys`."""
        return self._with_each_socket("ssl:renegotiate(Socket)", times, pause)

    def _with_each_socket(self, call: str, times: int, pause: int) -> str:
        return self.ctl("eval", _WITH_EACH_SOCKET.format(call=call, times=times, pause=pause)).strip()
