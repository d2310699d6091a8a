#!/usr/bin/env python3
"""Draw the state diagrams of the architecture page from the tables in pika/protocol/states.py.

draw_states.py           write them into docs/architecture.md
draw_states.py --check   exit 1 if those in the page are not what the tables say
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"

sys.path.insert(0, str(ROOT))

from pika.amqp_object import Method  # noqa: E402
from pika.protocol import states  # noqa: E402

S = TypeVar("S", bound=IntEnum)


def trigger_name(trigger: states.Trigger) -> str:
    """A trigger as a word on an arrow."""
    return trigger.value if isinstance(trigger, states.Action) else amqp_name(trigger)


def amqp_name(method: type[Method]) -> str:
    """A method under its name in the specification: ``connection.start-ok``."""
    class_name, method_name = method.NAME.split(".")
    return f"{class_name.lower()}.{re.sub('(?<!^)(?=[A-Z])', '-', method_name).lower()}"


def diagram(table: Mapping[S, Mapping[states.Trigger, S]], first: S, last: S) -> str:
    """A table of transitions as a Mermaid state diagram; triggers with the same effect share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    for state, row in table.items():
        arrows: dict[S, list[str]] = {}
        for trigger, following in row.items():
            arrows.setdefault(following, []).append(trigger_name(trigger))
        for following, names in arrows.items():
            label = "<br/>".join(names)
            lines.append(f"    {state.name} --> {following.name}: {label}")
    if first is not last:
        lines.append(f"    {last.name} --> [*]")
    lines.append("```")
    return "\n".join(lines)


def drawings() -> dict[str, str]:
    """What the page shows, by the name of its place there."""
    return {
        "connection": diagram(states.CONNECTION, states.ConnectionState.INIT, states.ConnectionState.CLOSED),
        "channel": diagram(states.CHANNEL, states.ChannelState.CLOSED, states.ChannelState.CLOSED),
        "pipelined": "\n".join(f"- `{name}`" for name in sorted(map(amqp_name, states.PIPELINED))),
        "holds": "\n".join(f"- `{name}`" for name in sorted(map(amqp_name, states.HOLDS_ALL))),
    }


def draw(page: str) -> str:
    """Return the page with everything between its markers drawn anew.

    :raises SystemExit: when a marker is missing
    """
    for name, drawing in drawings().items():
        begin, end = f"<!-- drawn: {name} -->", f"<!-- end: {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"{PAGE.name} has no place for the drawing {name!r}")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{drawing}\n\n{end}{rest.split(end)[1]}"
    return page


def main(arguments: list[str]) -> int:
    """Draw, or check; the exit status."""
    page = PAGE.read_text(encoding="utf-8")
    drawn = draw(page)
    if arguments == ["--check"]:
        if drawn != page:
            print(f"{PAGE.name} is not what pika/protocol/states.py says: run tools/draw_states.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
