"""A message that was received: what is known of it, and that it is settled once. Nothing here waits."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Callable, Generic, NoReturn, Protocol, TypeVar

from pika import exceptions, protocol, spec

# What to do about a message that is settled already at the end of its ``process()``.
_SETTLED_INSIDE = ". Inside process() let the block raise, or use process(ignore_processed=True)"


class Settler(Protocol):
    """What tells the broker what became of messages: a client's connection.

    :ivar peer: how the texts of errors name the broker
    """

    peer: str

    def settle(self, settle: Callable[[], None]) -> None:
        """Have one message settled, and what that sends on its way.

        :param settle: does it; called while nobody else uses the connection's protocol
        """


class BaseMessage:
    """What is known of a message, and that it is settled once; how one waits for that is a subclass's.

    :ivar method: the basic.deliver or the basic.get-ok that brought it
    :ivar properties: its properties
    :ivar body: its body

    :param settler: what it is acknowledged through
    :param source: the channel of the protocol that it came on: a tag means nothing on any other
    :param method: see above
    :param properties: see above
    :param body: see above
    :param auto_ack: whether the broker wants no acknowledgement
    """

    __slots__ = ("_settled", "_settler", "_source", "body", "method", "properties")

    def __init__(
        self,
        settler: Settler,
        source: protocol.Channel,
        method: spec.Basic.Deliver | spec.Basic.GetOk,
        properties: spec.BasicProperties,
        body: bytes,
        auto_ack: bool = False,
    ) -> None:
        self.method = method
        self.properties = properties
        self.body = body
        self._settler = settler
        self._source = source
        # What became of it, in words, once it is known.
        self._settled = "needs no acknowledgement: it was asked for with auto_ack" if auto_ack else ""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.method, self.properties, self.body))

    def __repr__(self) -> str:
        return (
            f"<Message {self.delivery_tag} from exchange {self.exchange!r}, routing key {self.routing_key!r}, "
            f"{len(self.body)} bytes{self._settled and '; it '}{self._settled}>"
        )

    @property
    def headers(self) -> dict[str, Any]:
        """The headers among its properties; empty when it has none."""
        return self.properties.headers or {}

    @property
    def exchange(self) -> str:
        """The exchange that it was published to; empty is the default exchange."""
        return self.method.exchange

    @property
    def routing_key(self) -> str:
        """What it was routed by."""
        return self.method.routing_key

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before, perhaps to somebody else, and given back."""
        return self.method.redelivered

    @property
    def delivery_tag(self) -> int:
        """Its number on its channel."""
        return self.method.delivery_tag

    @property
    def is_settled(self) -> bool:
        """Whether it was acknowledged, refused or rejected, or needs none of that."""
        return bool(self._settled)

    def _settle(self, how: str, method: str, *arguments: Any) -> None:
        self._settler.settle(functools.partial(self._settle_once, how, method, arguments))

    def _refuse(self, remedy: str = "") -> NoReturn:
        error = exceptions.MessageSettledError(
            f"the message with delivery tag {self.delivery_tag} {self._settled}; nothing was sent{remedy}"
        )
        error.context = f"{self._settler.peer}; channel {self._source.number}"
        raise error

    def _settle_once(self, how: str, method: str, arguments: tuple[Any, ...]) -> None:
        if self._settled:
            self._refuse()
        # Before it is sent: whoever comes in between, such as a signal handler, finds it settled.
        self._settled = f"was {how} before"
        try:
            getattr(self._source, method)(self.method.delivery_tag, *arguments)
        except exceptions.ChannelWrongStateError:
            # Nothing was sent, and nothing will be: it is as it was.
            self._settled = ""
            raise


M = TypeVar("M", bound=BaseMessage)


class BaseProcessing(Generic[M]):
    """What settles a message at the end of a block; how one waits for that is a subclass's.

    :param message: the message
    :param requeue: whether an error gives it back to its queue
    :param ignore_processed: whether the block may settle it itself
    """

    __slots__ = ("_ignore_processed", "_message", "_requeue")

    def __init__(self, message: M, requeue: bool, ignore_processed: bool) -> None:
        self._message = message
        self._requeue = requeue
        self._ignore_processed = ignore_processed

    def _is_settled(self, error: BaseException | None) -> bool:
        """Say whether the block has settled the message itself; raise if it was not to.

        :param error: what the block has raised
        """
        if not self._message._settled:
            return False
        if error is None and not self._ignore_processed:
            self._message._refuse(_SETTLED_INSIDE)
        return True

    def _gives_back(self, error: BaseException) -> bool:
        """Say whether what the block has raised gives the message back to its queue: what is no error always does."""
        return self._requeue or not isinstance(error, Exception)
