"""The load test's picture, written as SVG by hand: cost per packet and latency over the packet rate."""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

_WIDTH: Final = 860
_PANEL_HEIGHT: Final = 250
_LEFT, _RIGHT, _TOP, _GAP = 80, 30, 60, 80
_COLOURS: Final = ("#1f6fb4", "#d9822b", "#3c8f4f", "#9a4bb0")


def draw(title: str, panels: Sequence[tuple[str, dict[str, Points]]], notes: Sequence[str]) -> str:
    """An SVG document: one panel under the other, each (label of the y axis, name -> points), x = packets/s."""
    height = _TOP + len(panels) * (_PANEL_HEIGHT + _GAP) + 22 * len(notes) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="30" font-size="18" font-weight="600">{escape(title)}</text>',
    ]
    furthest = max((x for _, lines in panels for points in lines.values() for x, _ in points), default=1.0)
    for number, (label, lines) in enumerate(panels):
        parts += _panel(label, lines, _TOP + number * (_PANEL_HEIGHT + _GAP), furthest)
    base = _TOP + len(panels) * (_PANEL_HEIGHT + _GAP)
    parts += [
        f'<text x="{_LEFT}" y="{base + 22 * n}" fill="#444">{escape(note)}</text>' for n, note in enumerate(notes)
    ]
    return "\n".join([*parts, "</svg>", ""])


def _panel(label: str, lines: dict[str, Points], top: int, furthest: float) -> list[str]:
    highest = max((y for points in lines.values() for _, y in points), default=1.0) or 1.0
    x_step, y_step = _step(furthest), _step(highest)
    x_end = x_step * -(-furthest // x_step)
    y_end = y_step * -(-highest // y_step)
    bottom, right = top + _PANEL_HEIGHT, _WIDTH - _RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (right - _LEFT) * x / x_end, bottom - _PANEL_HEIGHT * y / y_end

    parts = [f'<text x="{_LEFT}" y="{top - 10}" font-weight="600">{escape(label)}</text>']
    for n in range(round(y_end / y_step) + 1):
        _, y = place(0, n * y_step)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{n * y_step:g}</text>')
    for n in range(round(x_end / x_step) + 1):
        x, _ = place(n * x_step, 0)
        parts.append(f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}" stroke="#888"/>')
        name = f"{n * x_step / 1000:g}k" if n else "0"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{name}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 38}" text-anchor="end" fill="#444">packets delivered a second</text>')
    for n, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[n % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(points)))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in (place(*point) for point in points):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        parts.append(
            f'<text x="{right - 170 * (len(lines) - n) + 20}" y="{top - 10}" fill="{colour}">● {escape(name)}</text>'
        )
    return parts


def _step(highest: float) -> float:
    """A round distance that gives four to ten lines."""
    step = 10.0 ** (len(str(int(highest))) - 1) if highest >= 1 else 0.1
    while highest / step < 4:
        step /= 2
    while highest / step > 10:
        step *= 2
    return step
