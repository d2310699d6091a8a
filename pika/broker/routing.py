"""Which bindings of an exchange a message matches: one class for each type of exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from pika import data
from pika.broker import errors, terms

if TYPE_CHECKING:
    from pika.broker.queues import Queue

Headers = Mapping[str, Any]


class Binding(NamedTuple):
    """A binding: what leads from an exchange to a queue or another exchange.

    Two bindings are the same when all of their parts are; the arguments are compared as they travel.
    """

    destination: Destination
    routing_key: str
    encoded_arguments: bytes

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, as a table."""
        return data.decode_table(self.encoded_arguments, 0)[0]


def binding(destination: Destination, routing_key: str, arguments: Headers | None) -> Binding:
    """Return a binding.

    :param destination: the queue or exchange it leads to
    :param routing_key: its routing key
    :param arguments: its arguments; their order does not matter
    """
    pieces: list[bytes] = []
    data.encode_table(pieces, dict(sorted((arguments or {}).items())))
    return Binding(destination, routing_key, b"".join(pieces))


class Router:
    """The bindings of one exchange, arranged so that those that match a message are found at once.

    Routers differ in what matches; this is the base, and a fanout: everything matches.
    """

    #: Whether a route depends on more than the routing key.
    uses_headers = False

    def __init__(self) -> None:
        self.bindings: dict[Binding, None] = {}

    def check(self, arguments: Headers) -> None:
        """Refuse the arguments of a new binding that make no sense to this type of exchange.

        :raises errors.Refusal: 406
        """

    def add(self, new: Binding) -> None:
        """Take a binding in; one that is there already is left alone."""
        if new not in self.bindings:
            self.bindings[new] = None
            self._add(new)

    def remove(self, old: Binding) -> bool:
        """Take a binding out, and return whether it was there."""
        if old not in self.bindings:
            return False
        del self.bindings[old]
        self._remove(old)
        return True

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        """Return where a message goes; a destination may come more than once.

        :param routing_key: the message's routing key
        :param headers: the message's headers; looked at only by a router that uses headers
        """
        return [found.destination for found in self.bindings]

    def _add(self, new: Binding) -> None:
        """Arrange a new binding."""

    def _remove(self, old: Binding) -> None:
        """Forget the arrangement of a binding."""


class Direct(Router):
    """Matches the bindings whose routing key is the message's."""

    def __init__(self) -> None:
        super().__init__()
        self._by_key: dict[str, list[Binding]] = {}

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return [found.destination for found in self._by_key.get(routing_key, ())]

    def _add(self, new: Binding) -> None:
        self._by_key.setdefault(new.routing_key, []).append(new)

    def _remove(self, old: Binding) -> None:
        bindings = self._by_key[old.routing_key]
        bindings.remove(old)
        if not bindings:
            del self._by_key[old.routing_key]


class Default(Router):
    """The router of the default exchange: every queue is bound by its name, and nothing else ever is."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        super().__init__()
        self._queues = queues

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        queue = self._queues.get(routing_key)
        return () if queue is None else (queue,)


class _Node:
    """A place in the tree of a topic exchange's patterns, reached by a sequence of words."""

    __slots__ = ("bindings", "children")

    def __init__(self) -> None:
        self.bindings: list[Binding] = []
        self.children: dict[str, _Node] = {}


def words(routing_key: str) -> list[str]:
    """Return the words of a routing key or a pattern; an empty one has none."""
    return routing_key.split(".") if routing_key else []


class Topic(Router):
    """Matches patterns of words: ``*`` stands for one word, ``#`` for any number of them."""

    def __init__(self) -> None:
        super().__init__()
        self._root = _Node()

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        sought = words(routing_key)
        # Positions are (node, index of the next word); each is visited once, however many "#" lead to it.
        pending = [(self._root, 0)]
        seen = {(id(self._root), 0)}
        found: list[Destination] = []
        while pending:
            node, index = pending.pop()
            if index == len(sought):
                found += [bound.destination for bound in node.bindings]
            for step in _steps(node, sought, index):
                position = (id(step[0]), step[1])
                if position not in seen:
                    seen.add(position)
                    pending.append(step)
        return found

    def _path(self, pattern: str) -> list[tuple[_Node, str]]:
        """The nodes that lead to a pattern, created as needed, each with the word that leads on from it."""
        path = []
        node = self._root
        for word in words(pattern):
            path.append((node, word))
            node = node.children.setdefault(word, _Node())
        path.append((node, ""))
        return path

    def _add(self, new: Binding) -> None:
        self._path(new.routing_key)[-1][0].bindings.append(new)

    def _remove(self, old: Binding) -> None:
        path = self._path(old.routing_key)
        node = path.pop()[0]
        node.bindings.remove(old)
        while path and not node.bindings and not node.children:
            node, word = path.pop()
            del node.children[word]


def _steps(node: _Node, sought: list[str], index: int) -> Iterator[tuple[_Node, int]]:
    """Where a walk through the tree can go from a position."""
    children = node.children
    if not children:
        return
    any_number = children.get("#")
    if any_number is not None:
        # It takes no word, or one, or two ...
        for taken in range(index, len(sought) + 1):
            yield any_number, taken
    if index < len(sought):
        word = sought[index]
        # A message's own "*" or "#" is a word like any other, and is met by the patterns' wildcards alone.
        for key in ("*", word) if word not in {"*", "#"} else ("*",):
            child = children.get(key)
            if child is not None:
                yield child, index + 1


class _Demand:
    """What a binding of a headers exchange asks of a message's headers."""

    __slots__ = ("any", "fields")

    def __init__(self, arguments: Headers) -> None:
        kind = arguments.get("x-match", "all")
        with_x = kind.endswith("-with-x")
        self.any = kind.startswith("any")
        self.fields = {
            name: terms.plain(value)
            for name, value in arguments.items()
            if (name != "x-match" if with_x else not name.startswith("x-"))
        }

    def met_by(self, headers: Headers) -> bool:
        matches = (
            name in headers and (value is None or terms.plain(headers[name]) == value)
            for name, value in self.fields.items()
        )
        return any(matches) if self.any else all(matches)


class HeadersMatch(Router):
    """Matches a message's headers against the bindings' arguments, as ``x-match`` asks."""

    uses_headers = True

    def __init__(self) -> None:
        super().__init__()
        self._demands: dict[Binding, _Demand] = {}

    def check(self, arguments: Headers) -> None:
        kind = arguments.get("x-match", "all")
        if not isinstance(kind, str):
            raise errors.precondition(
                f"Invalid x-match field type {terms.kind(kind)} (value {terms.term(kind)}); expected longstr"
            )
        if kind not in {"all", "any", "all-with-x", "any-with-x"}:
            raise errors.precondition(
                f"Invalid x-match field value {terms.term(kind)}; expected all, any, all-with-x, or any-with-x"
            )

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return [bound.destination for bound, demand in self._demands.items() if demand.met_by(headers)]

    def _add(self, new: Binding) -> None:
        self._demands[new] = _Demand(new.arguments)

    def _remove(self, old: Binding) -> None:
        del self._demands[old]


ROUTERS: dict[str, type[Router]] = {"direct": Direct, "fanout": Router, "topic": Topic, "headers": HeadersMatch}


class Exchange:
    """An exchange of a virtual host.

    :param name: its name
    :param kind: its type
    :param router: its bindings
    :param durable: kept for comparison; nothing outlives the broker
    :param auto_delete: whether it goes when its last binding does
    :param internal: whether clients may not publish to it
    :param arguments: as declared
    """

    def __init__(
        self,
        name: str,
        kind: str,
        router: Router,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Headers | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.router = router
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Headers = arguments or {}
        self.alternate: str | None = self.arguments.get("alternate-exchange")


Destination = Union["Queue", Exchange]
