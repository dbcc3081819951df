"""A frame counter and a clock burnt into the picture, for eyes (digits) and for machines (blocks).

Two rows of 32 blocks along the top edge, one per bit, most significant first: black 0, white 1. The first row
holds a 24-bit frame number, the second a 24-bit wall clock in milliseconds; the last 8 bits of each are a
check sum. Blocks as wide as 1/32 of the picture survive every codec and scaling that still shows a picture,
so the far end can tell lost, repeated and late pictures apart without any other channel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]

BITS = 32
CLOCK_MODULUS = 1 << 24  # milliseconds: wraps after 4 h 39 min, far beyond any delay worth measuring
_BLACK, _WHITE = 24, 228
_THRESHOLD = 128
_MARGIN = 40  # how far from the threshold a block's mean must lie to count as read

# 5 x 7 dot matrix, one row per number, most significant bit leftmost.
_GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 4, 4, 0, 4, 4, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
    " ": (0, 0, 0, 0, 0, 0, 0),
}
_MASKS = {
    glyph: np.array([[bool(row >> (4 - x) & 1) for x in range(5)] + [False] for row in rows])
    for glyph, rows in _GLYPHS.items()
}


@dataclass(frozen=True)
class Stamp:
    """`number`: the frame's number modulo 2^24; `clock_ms`: the sender's wall clock modulo 2^24 ms."""

    number: int
    clock_ms: int


def row_height(height: int) -> int:
    """Height in pixels of one row of blocks in a picture `height` pixels high."""
    return max(8, height // 24)


def burn(luma: Plane, stamp: Stamp, text: str) -> None:
    """Write `stamp` as blocks and `text` (digits, colon, point) as digits into a luma plane, in place."""
    height, width = luma.shape
    rows = row_height(height)
    for row, value in enumerate((stamp.number, stamp.clock_ms)):
        word = (value % CLOCK_MODULUS) << 8 | _check(value % CLOCK_MODULUS)
        bits = np.array([word >> (BITS - 1 - i) & 1 for i in range(BITS)], dtype=bool)
        edges = np.arange(width) * BITS // width
        luma[row * rows : (row + 1) * rows] = np.where(bits[edges], _WHITE, _BLACK).astype(np.uint8)
    _write(luma, text, top=3 * rows)


def read(luma: Plane) -> Stamp | None:
    """The stamp of a received picture's luma plane; None when it carries none or is too damaged."""
    height, width = luma.shape
    if width < 2 * BITS or height < 48:
        return None
    rows = row_height(height)
    values = []
    for row in range(2):
        # Only the middle of every block: its edges are what lossy coding and scaling smear.
        band = luma[row * rows + rows // 4 : row * rows + max(rows * 3 // 4, rows // 4 + 1)].mean(axis=0)
        word = 0
        for i in range(BITS):
            left, right = i * width // BITS, (i + 1) * width // BITS
            quarter = (right - left) // 4
            mean = float(band[left + quarter : max(right - quarter, left + quarter + 1)].mean())
            if abs(mean - _THRESHOLD) < _MARGIN:
                return None
            word = word << 1 | (mean > _THRESHOLD)
        value = word >> 8
        if word & 0xFF != _check(value):
            return None
        values.append(value)
    return Stamp(*values)


def _check(value: int) -> int:
    """Eight check bits; never fits an all-black or all-white row."""
    return (value ^ value >> 8 ^ value >> 16 ^ 0xA5) & 0xFF


def _write(luma: Plane, text: str, top: int) -> None:
    height, width = luma.shape
    mask = np.concatenate([_MASKS.get(glyph, _MASKS[" "]) for glyph in text], axis=1)
    mask = np.pad(mask, ((1, 1), (1, 0)))
    scale = max(1, min(width * 3 // 4 // mask.shape[1], height // 4 // mask.shape[0]))
    big = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    left = (width - big.shape[1]) // 2
    if left < 0 or top + big.shape[0] > height:
        return  # too small a picture for digits; the blocks still carry the stamp
    luma[top : top + big.shape[0], left : left + big.shape[1]] = np.where(big, _WHITE, _BLACK).astype(np.uint8)
