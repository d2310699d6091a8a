"""A chart of the CPU per message: a panel of bars for each workload, on a logarithmic scale that all share, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from benchmarks.clients import C
from benchmarks.tables import short

#: The workloads that are in it, if they were measured; those with large bodies would stretch the scale.
SHOWN = ("publish", "consume", "consume-ack", "publish-confirmed", "publish-window", "get")

_PANEL_WIDTH = 470
_NAMES = 190
_FIGURES = 46
_BAR = 13
_HEAD = 30
_FOOT = 24
_OWN, _C, _OTHER = "#1f77b4", "#2ca02c", "#b8b8b8"


def draw(results: Mapping[str, Any]) -> str:
    """Return the chart of a run's results, as they are in the JSON file."""
    shown = [one for one in results["workloads"] if one["name"] in SHOWN]
    values = [_cpu(figures) for one in shown for figures in one["clients"].values()]
    low, high = _decades(values)
    parts: list[str] = []
    top = 34.0
    for first in range(0, len(shown), 2):
        pair = shown[first : first + 2]
        for column, one in enumerate(pair):
            parts += _panel(one, low, high, column * _PANEL_WIDTH + 10, top)
        top += _HEAD + _FOOT + _BAR * max(len(one["clients"]) for one in pair)
    width, height = 2 * _PANEL_WIDTH + 20, math.ceil(top) + 6
    title = "CPU of the client's process per message, µs, logarithmic: less is better"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label={quoteattr(title)} font-family="sans-serif" font-size="10">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            _text(10, 20, title, 'font-size="14"'),
            *parts,
            "</svg>\n",
        )
    )


def _panel(one: Mapping[str, Any], low: int, high: int, left: float, top: float) -> list[str]:
    """Draw one workload: its title, a bar for each client, the cheapest first, and the scale below."""
    parts = [_text(left, top + 20, one["title"], 'font-size="12" font-weight="bold"')]
    start, length = left + _NAMES, _PANEL_WIDTH - _NAMES - _FIGURES - 10
    clients = sorted(one["clients"].items(), key=lambda item: _cpu(item[1]))
    bottom = top + _HEAD + _BAR * len(clients)
    for power in range(low, high + 1):
        x = start + length * (power - low) / (high - low)
        parts.append(f'<path d="M{x:.1f} {top + _HEAD - 3:.1f}V{bottom + 3:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(x, bottom + 14, f"{10.0**power:g}", 'text-anchor="middle" fill="#777"'))
    for place, (name, figures) in enumerate(clients):
        y = top + _HEAD + _BAR * place
        bar = max(1.0, length * (math.log10(_cpu(figures)) - low) / (high - low))
        parts.append(_text(start - 6, y + 9.5, name, 'text-anchor="end"'))
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 1.5:.1f}" width="{bar:.1f}" height="{_BAR - 3}" fill="{_colour(name)}"/>'
        )
        parts.append(_text(start + bar + 4, y + 9.5, short(_cpu(figures))))
    return parts


def _cpu(figures: Mapping[str, Any]) -> float:
    # Below the resolution of the kernel's account it may be nothing.
    return max(float(figures["cpu_us"]["median"]), 0.01)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten between which all values lie."""
    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.ceil(math.log10(max(values, default=10.0)))
    return low, max(high, low + 1)


def _colour(client: str) -> str:
    if client == C:
        return _C
    own = ("BlockingConnection", "SelectConnection", "AsyncioConnection", "pika.aio")
    return _OWN if client.startswith(own) else _OTHER


def _text(x: float, y: float, content: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(content)}</text>'
