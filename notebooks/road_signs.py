"""Draws pictures of road signs, for those who have no pictures at hand: `own_pictures.ipynb` uses them.

draw_road_signs("signs", pictures=100)  # signs/give_way/000.jpg, ...
"""

import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]

RED, BLUE, YELLOW = (190, 25, 35), (20, 75, 160), (245, 190, 20)
WHITE, BLACK = (240, 240, 240), (25, 25, 25)
SKY, LEAVES, STONE = (150, 180, 210), (70, 100, 50), (130, 125, 115)
PIXELS = 256
"""Width and height in which a sign is drawn, before it is put into a picture."""


def draw_road_signs(folder: str | Path, pictures: int, seed: int = 0, size: int = 96) -> Path:
    """Write `pictures` JPEG files, of `size` x `size` pixels, for each sign into ``folder/SIGN``.

    Signs are turned, tilted, partly hidden, blurred and in bad light. The same `seed` draws the same
    pictures. Returns `folder`.
    """
    chance = random.Random(seed)  # noqa: S311  (for pictures)
    for name, draw in SIGNS.items():
        place = Path(folder, name)
        place.mkdir(parents=True, exist_ok=True)
        for index in range(pictures):
            _picture(_sign(draw), size, chance).save(place / f"{index:03}.jpg", quality=90)
    return Path(folder)


def _sign(draw: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    """One sign, seen from the front, on a transparent ground."""
    image = Image.new("RGBA", (PIXELS, PIXELS))
    draw(ImageDraw.Draw(image))
    return image


def _give_way(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon(_corners(3, 120, 90), fill=RED)
    pen.polygon(_corners(3, 70, 90), fill=WHITE)


def _no_entry(pen: ImageDraw.ImageDraw) -> None:
    _disc(pen, 112, RED)
    pen.rectangle((50, 108, 206, 148), fill=WHITE)


def _no_stopping(pen: ImageDraw.ImageDraw) -> None:
    _disc(pen, 112, RED)
    _disc(pen, 88, BLUE)
    pen.line((66, 66, 190, 190), fill=RED, width=24)
    pen.line((66, 190, 190, 66), fill=RED, width=24)


def _priority(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon(_corners(4, 120, 0), fill=WHITE)
    pen.polygon(_corners(4, 92, 0), fill=YELLOW)


def _straight_on(pen: ImageDraw.ImageDraw) -> None:
    _disc(pen, 112, BLUE)
    pen.rectangle((116, 100, 140, 206), fill=WHITE)
    pen.polygon([(128, 44), (176, 116), (80, 116)], fill=WHITE)


def _warning(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon(_corners(3, 120, -90), fill=RED)
    pen.polygon(_corners(3, 78, -90), fill=WHITE)
    pen.rectangle((121, 84, 135, 130), fill=BLACK)
    pen.rectangle((121, 138, 135, 152), fill=BLACK)


SIGNS = {
    "give_way": _give_way,
    "no_entry": _no_entry,
    "no_stopping": _no_stopping,
    "priority": _priority,
    "straight_on": _straight_on,
    "warning": _warning,
}


def _disc(pen: ImageDraw.ImageDraw, radius: int, colour: Colour) -> None:
    middle = PIXELS / 2
    pen.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=colour)


def _corners(number: int, radius: float, first: float) -> list[Point]:
    """The corners of a regular polygon in the middle; the first one is at the angle `first`, in degrees."""
    angles = [math.radians(first + 360 * corner / number) for corner in range(number)]
    return [(PIXELS / 2 + radius * math.cos(a), PIXELS / 2 + radius * math.sin(a)) for a in angles]


def _picture(sign: Image.Image, size: int, chance: random.Random) -> Image.Image:
    """A photograph of `sign`, as far as chance and drawing go."""
    ground = _ground(size, chance)
    width = round(size * chance.uniform(0.45, 0.9))
    seen = (
        _tilted(sign, chance).resize((width, width)).rotate(chance.uniform(-20, 20), Image.Resampling.BICUBIC)
    )
    corner = chance.randrange(size - width + 1), chance.randrange(size - width + 1)
    ground.paste(seen, corner, seen)
    for _ in range(chance.randrange(4)):  # leaves in front of it
        x, y, r = (chance.uniform(0, size), chance.uniform(0, size), chance.uniform(0.03, 0.12) * size)
        ImageDraw.Draw(ground).ellipse((x - r, y - r, x + r, y + r), fill=_colour(LEAVES, chance))
    ground = ground.filter(ImageFilter.GaussianBlur(chance.uniform(0, size / 90)))
    ground = ImageEnhance.Color(ground).enhance(chance.uniform(0.3, 1.2))
    return ImageEnhance.Brightness(ground).enhance(chance.uniform(0.5, 1.2))


def _tilted(sign: Image.Image, chance: random.Random) -> Image.Image:
    """`sign` seen from the side: each corner of the picture moves by up to a fifth of its width."""
    far = [chance.uniform(-0.2, 0) * PIXELS for _ in range(8)]
    x0, y0, x1, y1, x2, y2, x3, y3 = far
    quad = (x0, y0, x1, PIXELS - y1, PIXELS - x2, PIXELS - y2, PIXELS - x3, y3)
    return sign.transform(sign.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def _ground(size: int, chance: random.Random) -> Image.Image:
    """Something between sky, trees and houses: a few random colours, smoothed and with noise."""
    few = Image.new("RGB", (5, 5))
    few.putdata([_colour(chance.choice((SKY, LEAVES, STONE)), chance) for _ in range(25)])
    noise = Image.effect_noise((size, size), 60).convert("RGB")
    return Image.blend(few.resize((size, size), Image.Resampling.BICUBIC), noise, 0.2)


def _colour(around: Colour, chance: random.Random) -> Colour:
    red, green, blue = (part + chance.randint(-25, 25) for part in around)
    return red, green, blue
