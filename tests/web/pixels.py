"""What a screenshot shows: the colour of a point, by name."""

import io
from typing import Any

import av
import numpy as np

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "dark": (14, 24, 33),  # behind the pictures
}


class Screenshot:
    """A PNG in CSS pixels (device scale 1)."""

    def __init__(self, png: bytes) -> None:
        with av.open(io.BytesIO(png), "r") as container:
            self._pixels: Any = next(container.decode(video=0)).to_ndarray(format="rgb24")

    def colour(self, x: float, y: float) -> str:
        """The name of the nearest colour at a point."""
        found = self._pixels[round(y), round(x)].astype(int)
        return min(COLOURS, key=lambda name: int(np.abs(found - COLOURS[name]).sum()))

    def corners(self, box: dict[str, float], inset: float = 12) -> list[str]:
        """The colours just inside the corners of a box: top left, top right, bottom left, bottom right."""
        left, top = box["x"] + inset, box["y"] + inset
        right, bottom = box["x"] + box["width"] - inset, box["y"] + box["height"] - inset
        return [self.colour(x, y) for y in (top, bottom) for x in (left, right)]
