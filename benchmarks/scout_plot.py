"""Time and memory by number of files, as an SVG on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, EDGE = 420, 320, 60
LINES = (
    ("first scan, s", "first_s", "#1b6ca8"),
    ("first scan, s of CPU", "first_cpu_s", "#e08e0b"),
    ("rescan, s", "rescan_s", "#2a9d4a"),
    ("find, s", "find_s", "#999999"),
)
MEMORY = (("peak memory, MB", "peak_mb", "#b3372f"),)


def plot(figures: Sequence[Mapping[str, Any]]) -> str:
    """Two panels beside each other. A straight line of slope 1 is linear growth."""
    panels = [_panel(figures, LINES, 0), _panel(figures, MEMORY, WIDTH)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + "".join(panels)
        + "</svg>\n"
    )


def _panel(
    figures: Sequence[Mapping[str, Any]], lines: Sequence[tuple[str, str, str]], left: int
) -> str:
    values = [float(f[key]) for f in figures for _, key, _ in lines]
    files = [float(f["files"]) for f in figures]
    across = _Axis(files, left + EDGE, left + WIDTH - 20)
    up = _Axis(values, HEIGHT - EDGE, 20 + 14 * len(lines))
    parts = [_axes(across, up, left)]
    for number, (title, key, colour) in enumerate(lines):
        points = [(across.at(f["files"]), up.at(f[key])) for f in figures]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<text x="{left + EDGE + 8}" y="{18 + 14 * number}" fill="{colour}">{title}</text>'
        )
    return "".join(parts)


class _Axis:
    """Powers of ten between two ends, in pixels."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _axes(across: _Axis, up: _Axis, left: int) -> str:
    right, bottom, top = left + WIDTH - 20, HEIGHT - EDGE, up.at(up.ticks()[-1])
    parts = []
    for value in across.ticks():
        x = across.at(value)
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{top:.1f}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:,.0f}</text>'
        )
    for value in up.ticks():
        y = up.at(value)
        parts.append(
            f'<line x1="{left + EDGE}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{left + EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    parts.append(
        f'<text x="{(left + EDGE + right) / 2}" y="{bottom + 34}" text-anchor="middle">files</text>'
    )
    return "".join(parts)
