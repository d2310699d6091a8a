"""What a scenario saw, as plain data: without what differs from run to run, and comparable between two processes.

Imports nothing of the library: it is used on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: What is made up anew in every run, and what stands for it.
_GENERATED = (
    (re.compile(r"ctag(\d+)\.[0-9a-f]{32}"), r"ctag\1.<generated>"),
    (re.compile(r"amq\.gen-[\w-]{22}"), "amq.gen-<generated>"),
    (re.compile(r"amq\.ctag-[\w-]{22}"), "amq.ctag-<generated>"),
    (re.compile(r" at 0x[0-9a-f]+"), " at <address>"),
    # Texts that quote the callback connection, whose class is the library's own business.
    (re.compile(r"<\w+Connection ([A-Z]+) .*>"), r"<connection \1>"),
)
#: Attributes of exceptions that are not in ``args``.
_EXCEPTION_ATTRIBUTES = ("messages", "reply_code", "reply_text")


class Plain:
    """Turns values into plain data.

    :param hidden: texts that differ from run to run, such as port numbers, by what stands for them
    """

    def __init__(self, hidden: Mapping[str, str]) -> None:
        self._hidden = hidden

    def text(self, value: str) -> str:
        """Return a text without what differs from run to run."""
        for pattern, standing in _GENERATED:
            value = pattern.sub(standing, value)
        for found, standing in self._hidden.items():
            value = value.replace(found, standing)
        return value

    def value(self, value: object) -> Any:
        """Return a value as plain data that tells int from bool and float, tuple from list, bytes from str."""
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return self._hidden.get(str(value), int(value))
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {"bytes": repr(bytes(value))}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self.value(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": {repr(key): self.value(item) for key, item in value.items()}}
        if isinstance(value, BaseException):
            return self._exception(value)
        return self._object(value)

    def _exception(self, error: BaseException) -> Any:
        attributes = {name: getattr(error, name) for name in _EXCEPTION_ATTRIBUTES if hasattr(error, name)}
        name, arguments = type(error).__name__, list(error.args)
        if any(kind.__name__ == "UnsupportedAMQPFieldException" for kind in type(error).__mro__):
            # Before the value stands what was encoded until then, in pieces that are the encoder's own business.
            arguments[0] = "<encoded>"
        return {
            "exception": name,
            "mro": [kind.__name__ for kind in type(error).__mro__],
            "args": [self.value(item) for item in arguments],
            "attributes": {name: self.value(item) for name, item in attributes.items()},
        }

    def _object(self, value: object) -> Any:
        name, module = type(value).__name__, type(value).__module__
        if name == "BlockingChannel":
            return f"<{name} {int(value)}>"  # type: ignore[call-overload]
        if name == "Channel":
            return f"<{name} {value.channel_number}>"  # type: ignore[attr-defined]
        if name == "ReturnedMessage":
            parts = ("method", "properties", "body")
            return {"object": name, "fields": {key: self.value(getattr(value, key)) for key in parts}}
        if module == "pika.spec" or name == "Method":
            fields = {key: item for key, item in vars(value).items() if not key.startswith("_") and item is not None}
            return {"object": name, "fields": {key: self.value(item) for key, item in sorted(fields.items())}}
        return "<private>" if name.startswith("_") else f"<{name}>"
