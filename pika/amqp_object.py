"""What the classes of :mod:`pika.spec` and :mod:`pika.frame` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self


class AMQPObject:
    """Something that travels in frames: shown by its name and the attributes it has.

    Two of them are equal when their attributes are; so equal ones of different classes are told apart
    by ``NAME`` or ``INDEX``. They can change, so they cannot be hashed.
    """

    NAME: ClassVar[str] = "AMQPObject"
    INDEX: ClassVar[int | None] = None

    def __repr__(self) -> str:
        shown = [f"{name}={value}" for name, value in sorted(vars(self).items()) if value is not None]
        return f"<{self.NAME}({shown})>" if shown else f"<{self.NAME}>"

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, AMQPObject) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # how Python spells unhashable


class Class(AMQPObject):
    """A class of AMQP: the home of its methods, such as ``spec.Basic``."""

    NAME: ClassVar[str] = "Unextended Class"


class Method(AMQPObject):
    """A method of AMQP, such as ``spec.Basic.Deliver``."""

    NAME: ClassVar[str] = "Unextended Method"

    if TYPE_CHECKING:

        @property
        def synchronous(self) -> bool:
            """Whether the peer answers it."""
            ...
    else:
        # A plain value here and a property in the methods of `pika.spec`, as programs know them.
        synchronous = False

    def _set_content(self, properties: Properties, body: bytes) -> None:
        """Attach the content that came with the method."""
        self._properties = properties
        self._body = body

    def get_properties(self) -> Properties:
        """Return the properties of the content that came with the method.

        :raises AttributeError: when none was attached.
        """
        return self._properties

    def get_body(self) -> bytes:
        """Return the body of the content that came with the method.

        :raises AttributeError: when none was attached.
        """
        return self._body

    def encode(self) -> list[bytes]:
        """Return the arguments as they travel, in pieces to be joined."""
        raise NotImplementedError(f"{self.NAME} cannot be encoded; use a method of pika.spec")

    def decode(self, encoded: bytes, offset: int = 0) -> Self:
        """Take the arguments from ``encoded``, from ``offset`` on, and return self."""
        raise NotImplementedError(f"{self.NAME} cannot be decoded; use a method of pika.spec")


class Properties(AMQPObject):
    """The properties of a content, such as ``spec.BasicProperties``."""

    NAME: ClassVar[str] = "Unextended Properties"
