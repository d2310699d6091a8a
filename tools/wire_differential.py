"""Compare the wire format of this library with that of pika 1.4.4, byte by byte and value by value.

Usage::

    python tools/wire_differential.py PYTHON [--cases N] [--seed N]

PYTHON is the interpreter of a virtual environment that has pika 1.4.4: since the names clash, it runs this file
as a child and answers the same questions there. Every method, and N random argument sets, property sets and
field tables are encoded and decoded by both. Exits with 1 if anything differs that :data:`DIFFERENCES` does
not list.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

#: What differs on purpose, and why.
DIFFERENCES = {
    "float": "pika 1.4.4 refuses to encode floats and decodes them to integers; here they are doubles, unchanged",
    "container": "pika 1.4.4 refuses tuples and bytearrays; here they are sent as arrays and byte arrays",
    "not UTF-8": "pika 1.4.4 shows short strings that are no UTF-8 as bytes; here they are str with surrogate escapes, "
    "as the types promise, and encode to the same bytes",
    "surrogate": "pika 1.4.4 cannot encode surrogate escapes; here they are the bytes they were decoded from",
    "unknown type": "pika 1.4.4 fails the connection; here the table that holds it arrives as RawTable",
    "timestamp": "pika 1.4.4 fails on timestamps beyond the year 9999; here they arrive as Timestamp, an int",
    "truncated": "pika 1.4.4 reads on, or raises what is no AMQPError; here it is an InvalidFrameError",
    "lying table": "pika 1.4.4 lets a value run over the end of its table or array; here it is an InvalidFrameError",
    "update-secret": "pika 1.4.4, which only sends it, decodes the secret into attributes of other names and cannot "
    "make the method without arguments; here it is a method like any other, for the embedded broker",
    "depth": "pika 1.4.4 recurses until Python gives up; here more than 32 levels are an error",
    "float as integer": "pika 1.4.4 fails on infinite and undefined floats; here they are floats",
}

UPDATE_SECRET = 10 << 16 | 70
FIELD_KINDS = "tbBsuUIilLDSxTAFV"
Request = tuple[str, Any, Any]


class Case(NamedTuple):
    """A question to both, and the key of the difference that is expected, if one is."""

    request: Request
    difference: str | None = None


class Answer(NamedTuple):
    """What one of them answers: a value, or the names of the classes of an exception."""

    value: Any
    errors: tuple[str, ...] = ()


# Asked of both -----------------------------------------------------------------------------------------------


def answer(request: Request) -> Answer:
    """Let the `pika` that this interpreter imports do something."""
    try:
        return Answer(_perform(*request))
    except Exception as error:
        return Answer(None, tuple(base.__name__ for base in type(error).__mro__))


def _perform(action: str, subject: Any, argument: Any) -> Any:
    from pika import data, spec

    pieces: list[bytes] = []
    if action == "encode method":
        return b"".join(spec.methods[subject](**argument).encode())
    if action == "decode method":
        method_class: Any = spec.methods[subject]
        # Theirs cannot be made without arguments.
        method = method_class("", "") if subject == UPDATE_SECRET else method_class()
        return plain(vars(method.decode(argument)))
    if action == "encode properties":
        return b"".join(spec.BasicProperties(**argument).encode())
    if action == "decode properties":
        return plain(vars(spec.BasicProperties().decode(argument)))
    if action == "encode value":
        size = data.encode_value(pieces, argument)
        return b"".join(pieces), size
    if action == "decode value":
        return plain(data.decode_value(argument, 0))
    if action == "encode table":
        size = data.encode_table(pieces, argument)
        return b"".join(pieces), size
    if action == "decode table":
        return plain(data.decode_table(argument, 0))
    raise ValueError(action)


def plain(value: Any) -> Any:
    """The value in types that both know and that compare strictly."""
    if isinstance(value, dict):
        return "dict", [(plain(key), plain(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return "long" if type(value).__name__ == "long" else "int", int(value)
    if isinstance(value, (decimal.Decimal, datetime.datetime)):
        return type(value).__name__, str(value)
    return type(value).__name__, value


def serve() -> None:
    """Answer what the parent asks, until it hangs up."""
    while True:
        try:
            requests = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump([tuple(answer(request)) for request in requests], sys.stdout.buffer)
        sys.stdout.buffer.flush()


class Oracle:
    """The other library, in a child process."""

    def __init__(self, python: str) -> None:
        command = [python, str(pathlib.Path(__file__).resolve()), "--serve", python]
        # Where PYTHONPATH leads is this library.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, requests: Sequence[Request]) -> list[Answer]:
        assert self.process.stdin is not None and self.process.stdout is not None
        pickle.dump(list(requests), self.process.stdin)
        self.process.stdin.flush()
        return [Answer(*reply) for reply in pickle.load(self.process.stdout)]


# Questions ---------------------------------------------------------------------------------------------------


class Generator:
    """Random values that both libraries can send."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, longest: int) -> str:
        alphabet = "abcxyz.-_ #*/:\u00e9\u20ac\U0001f407\x00"
        return "".join(self.random.choices(alphabet, k=self.random.randint(0, longest)))

    def integer(self, bits: int) -> int:
        return self.random.choice([0, 1, (1 << bits) - 1, self.random.randrange(1 << bits)])

    def argument(self, kind: str) -> Any:
        if kind == "bit":
            return self.random.random() < 0.5
        if kind == "table":
            return self.random.choice([None, self.table(2)])
        if kind == "shortstr":
            return self.random.choice([self.text(60), self.text(12).encode(), "x" * 255])
        if kind == "longstr":
            return self.random.choice([self.text(300), self.random.randbytes(self.random.randint(0, 300))])
        return self.integer({"octet": 8, "short": 16, "long": 32, "longlong": 64, "timestamp": 64}[kind])

    def table(self, depth: int) -> dict[str, Any]:
        return {self.text(12): self.value(depth) for _ in range(self.random.randint(0, 6))}

    def value(self, depth: int) -> Any:
        choices = [self.scalar] * 6
        if depth:
            choices += [lambda: self.table(depth - 1), lambda: [self.value(depth - 1) for _ in range(3)]]
        return self.random.choice(choices)()

    def scalar(self) -> Any:
        seconds = self.random.randrange(253402300799)
        zone = self.random.choice([None, datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5.5))])
        moment = datetime.datetime(1970, 1, 2) + datetime.timedelta(seconds=seconds / 2, microseconds=seconds % 1000000)
        return self.random.choice(
            [
                None,
                self.random.random() < 0.5,
                self.random.randint(-(1 << 31), 1 << 32),
                self.random.randint(-(1 << 63), (1 << 63) - 1),
                decimal.Decimal(self.random.randint(-(1 << 31), (1 << 31) - 1)).scaleb(-self.random.randint(0, 255)),
                decimal.Decimal(self.random.randint(-9, 9)).scaleb(self.random.randint(0, 8)),
                self.text(80),
                self.random.randbytes(self.random.randint(0, 40)),
                moment.replace(tzinfo=zone),
            ]
        )

    def wire_value(self, depth: int) -> bytes:
        """A value as it travels, of any type that RabbitMQ sends."""
        kind = self.random.choice(FIELD_KINDS)
        if kind in "AF" and not depth:
            kind = "V"
        sizes = {"t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "U": 2, "I": 4, "i": 4, "l": 8, "L": 8, "D": 5, "V": 0}
        if kind in sizes:
            return kind.encode() + self.random.randbytes(sizes[kind])
        if kind == "T":
            return b"T" + struct.pack(">Q", self.random.randrange(253402300800))
        if kind == "A":
            payload = b"".join(self.wire_value(depth - 1) for _ in range(self.random.randint(0, 4)))
        elif kind == "F":
            return b"F" + self.wire_table(depth - 1)
        else:
            payload = self.random.choice([self.text(30).encode(), self.random.randbytes(self.random.randint(0, 30))])
        return kind.encode() + struct.pack(">I", len(payload)) + payload

    def wire_table(self, depth: int) -> bytes:
        payload = b""
        for _ in range(self.random.randint(0, 6)):
            name = self.text(10).encode()
            payload += bytes([len(name)]) + name + self.wire_value(depth)
        return struct.pack(">I", len(payload)) + payload


def questions(count: int, seed: int) -> Iterator[Case]:
    """Everything that is asked; decoding of what was encoded is added by :func:`compare`."""
    generator = Generator(seed)
    yield from method_questions(generator, max(1, count // 40))
    yield from property_questions(generator, count)
    for _ in range(count):
        yield Case(("encode table", None, generator.table(4)))
        yield Case(("decode table", None, generator.wire_table(4)))
        yield Case(("decode value", None, generator.wire_value(4)))
    yield from mistakes()
    yield from deliberate_differences()


def method_questions(generator: Generator, count: int) -> Iterator[Case]:
    from pika import spec

    for index, method in spec.methods.items():
        fields: tuple[tuple[str, str], ...] = getattr(method, "FIELDS")  # noqa: B009 - of the methods in spec only
        yield Case(("encode method", index, {}), "update-secret" if index == UPDATE_SECRET else None)
        for _ in range(count):
            yield Case(("encode method", index, {name: generator.argument(kind) for name, kind in fields}))


def property_questions(generator: Generator, count: int) -> Iterator[Case]:
    from pika import spec

    fields = spec.BasicProperties.FIELDS
    for _ in range(count):
        chosen = generator.random.sample(fields, generator.random.randint(0, len(fields)))
        yield Case(("encode properties", None, {name: generator.argument(kind) for name, kind in chosen}))


def mistakes() -> Iterator[Case]:
    """What neither sends: the exception must be known by the same class."""
    from pika import spec

    publish, ack, declare = spec.Basic.Publish.INDEX, spec.Basic.Ack.INDEX, spec.Queue.Declare.INDEX
    secret = spec.Connection.SecureOk.INDEX
    value: Any
    for value in (5, None, bytearray(b"a"), [], 1.5, "x" * 256, "\u00e9" * 128, "\ud800"):
        yield Case(("encode method", publish, {"routing_key": value}))
        yield Case(("encode method", publish, {"exchange": value}))
        if value is not None:
            yield Case(("encode properties", None, {"content_type": value}))
            yield Case(("encode properties", None, {"message_id": value}))
    for value in (5, None, bytearray(b"a"), []):
        yield Case(("encode method", secret, {"response": value}))
    for value in (-1, 1 << 64, "1", 1.5):
        yield Case(("encode method", ack, {"delivery_tag": value}))
        yield Case(("encode properties", None, {"priority": value}))
        yield Case(("encode properties", None, {"timestamp": value}))
    for value in (5, "x", {1: 2}, {None: 1}, {"k" * 256: 1}, {"a": {2: 1}}, [], ""):
        yield Case(("encode method", declare, {"queue": "q", "arguments": value}))
        yield Case(("encode properties", None, {"headers": value}))
        yield Case(("encode table", None, value))
    for value in (set(), 1j, range(2), datetime.date(2020, 1, 1), 1 << 63, -(1 << 63) - 1, "\ud800", {"a": [set()]}):
        yield Case(("encode value", None, value))
    for text in ("NaN", "Infinity", "1E-256", "2147483648", "-2147483649", "1E40", "12345678901234"):
        yield Case(("encode value", None, decimal.Decimal(text)))
    yield Case(("encode value", None, datetime.datetime(1960, 1, 1)))


def deliberate_differences() -> Iterator[Case]:
    """Where the two are expected to differ."""
    from pika import spec

    deliver, publish = spec.Basic.Deliver.INDEX, spec.Basic.Publish.INDEX
    yield Case(("encode value", None, 1.5), "float")
    yield Case(("encode table", None, {"a": [0.25]}), "float")
    yield Case(("decode value", None, b"d" + struct.pack(">d", 1.5)), "float")
    yield Case(("decode value", None, b"f" + struct.pack(">f", 1.5)), "float")
    yield Case(("decode value", None, b"d" + struct.pack(">d", float("inf"))), "float as integer")
    yield Case(("encode value", None, (1, 2)), "container")
    yield Case(("encode value", None, bytearray(b"a")), "container")
    yield Case(("decode method", deliver, b"\x01\xff" + bytes(11)), "not UTF-8")
    yield Case(("decode properties", None, b"\x80\x00\x01\xff"), "not UTF-8")
    yield Case(("decode table", None, b"\0\0\0\x03\x01\xffV"), "not UTF-8")
    yield Case(("encode method", publish, {"routing_key": "\udcff"}), "surrogate")
    yield Case(("encode properties", None, {"app_id": "\udcff"}), "surrogate")
    yield Case(("decode table", None, b"\0\0\0\x04\x01a?\x01"), "unknown type")
    yield Case(("decode value", None, b"T" + b"\xff" * 8), "timestamp")
    yield Case(("decode value", None, b"T" + struct.pack(">Q", 1 << 62)), "timestamp")
    for cut in range(13):
        yield Case(("decode method", deliver, (b"\x01a" + bytes(9) + b"\x01e\x01r")[:cut]), "truncated")
    for wire in (b"", b"\x80", b"\x80\0", b"\x80\0\x05a", b"\x20\0\0\0\0\x50", b"\0\x01\xff\xff"):
        yield Case(("decode properties", None, wire), "truncated")
    for wire in (b"S\0\0\0\x20ab", b"x\0\0\0\x20ab", b"l\0", b"F\0\0\0\x50\x01ab\x01"):
        yield Case(("decode value", None, wire), "truncated")
    for wire in (b"A\0\0\0\x01b\x01b\x02", b"F\0\0\0\x03\x01ab\x01", b"A\0\0\0\x03b\x01"):
        yield Case(("decode value", None, wire), "lying table")
    yield Case(("encode value", None, nested(40)), "depth")
    yield Case(("decode value", None, nested_wire(40)), "depth")


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth - 1):
        table = {"a": table}
    return table


def nested_wire(depth: int) -> bytes:
    table = b"F\0\0\0\0"
    for _ in range(depth - 1):
        table = b"F" + struct.pack(">I", len(table) + 2) + b"\x01a" + table
    return table


# Comparing ---------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """How many answers were equal or both refused, by action; how many differed as listed; and what else did."""

    equal: collections.Counter[str]
    refused: collections.Counter[str]
    deliberate: collections.Counter[str]
    unexpected: list[str]

    def report(self) -> str:
        lines = [f"equal: {action}: {count}" for action, count in sorted(self.equal.items())]
        lines += [f"refused by both: {action}: {count}" for action, count in sorted(self.refused.items())]
        lines += [f"deliberate: {key} ({self.deliberate[key]}): {reason}" for key, reason in DIFFERENCES.items()]
        lines += [f"DIFFERENT: {line}" for line in self.unexpected]
        total = sum(self.equal.values()) + sum(self.refused.values())
        lines.append(f"{total} held, {sum(self.deliberate.values())} deliberate, {len(self.unexpected)} unexpected")
        return "\n".join(lines)


def compare(oracle: Oracle, cases: Sequence[Case]) -> Outcome:
    """Ask both, decode with both what both encoded, and sort the answers."""
    outcome = Outcome(collections.Counter(), collections.Counter(), collections.Counter(), [])
    encoded = _compare_once(oracle, cases, outcome)
    _compare_once(oracle, encoded, outcome)
    return outcome


def _compare_once(oracle: Oracle, cases: Sequence[Case], outcome: Outcome) -> list[Case]:
    encoded = []
    for start in range(0, len(cases), 500):
        batch = cases[start : start + 500]
        for case, theirs in zip(batch, oracle.ask([case.request for case in batch])):
            ours = answer(case.request)
            if not _judge(case, ours, theirs, outcome):
                continue
            action, subject, _ = case.request
            if action.startswith("encode"):
                wire = ours.value if isinstance(ours.value, bytes) else ours.value[0]
                difference = "update-secret" if subject == UPDATE_SECRET else None
                encoded.append(Case((action.replace("encode", "decode"), subject, wire), difference))
    return encoded


def _judge(case: Case, ours: Answer, theirs: Answer, outcome: Outcome) -> bool:
    """Count the answer; whether both gave the same value."""
    action = case.request[0]
    # An exception of ours must be caught by who catches theirs.
    same = ours == theirs if not theirs.errors else theirs.errors[0] in ours.errors
    if same and not theirs.errors:
        outcome.equal[action] += 1
    elif same:
        outcome.refused[action] += 1
    elif case.difference is not None:
        outcome.deliberate[case.difference] += 1
    else:
        outcome.unexpected.append("\n  ".join(f"{text:.500}" for text in map(repr, (case.request, ours, theirs))))
    return same and not theirs.errors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the wire format with that of pika 1.4.4.")
    parser.add_argument("python", help="the interpreter of a virtual environment that has pika 1.4.4")
    parser.add_argument("--cases", type=int, default=2000, help="how many random sets of each kind (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random sets (default 0)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve()
        return 0
    # Run as a file, the directory on the path is that of the tools, so that the child finds the other library.
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    with Oracle(options.python) as oracle:
        outcome = compare(oracle, list(questions(options.cases, options.seed)))
    print(outcome.report())
    return 1 if outcome.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
