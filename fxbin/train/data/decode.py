"""Decodes pictures in files, or in the bytes of a file, and says why one cannot be."""

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of the names of pictures in a folder, as in torchvision's ImageFolder."""

ORIENTATION = 0x0112
"""EXIF tag that says how the camera was held."""

EXIF = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
"""Where in `info` Pillow keeps the tags; most pictures have none, and need not be asked for the tag."""


class BadPictureError(Exception):
    """A picture that cannot be read; the message is the reason alone."""


def decode(source: Path | bytes, channels: int) -> "Image.Image":
    """The picture in a file, or in its bytes, in RGB, upright; in grey if `channels` is 1.

    Where it is transparent, the background is white.

    Raises BadPictureError if it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return as_mode(picture, channels)
    # A damaged file can make the decoders fail with any kind of error.
    except Exception as error:
        raise BadPictureError(why(error)) from error


def as_mode(picture: "Image.Image", channels: int) -> "Image.Image":
    """`picture` in RGB, or in grey if `channels` is 1, upright, and on white where it is transparent."""
    mode = "L" if channels == 1 else "RGB"
    picture = upright(picture)
    if picture.mode == mode and "transparency" not in picture.info:
        return picture
    if picture.mode == "P" and "transparency" in picture.info:
        picture = with_opaque_palette(picture)
    elif picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = on_white(picture.convert("RGBA"))
    return picture.convert(mode)


def upright(picture: "Image.Image") -> "Image.Image":
    """`picture`, turned and mirrored as the EXIF tag of a camera says that it is to be looked at."""
    picture.load()  # which turns a TIFF, and reads what a PNG has behind its pixels
    if not any(name in picture.info for name in EXIF):
        return picture
    from PIL import Image

    orientation = 1
    # Damaged tags can make Pillow fail with any kind of error, and are no reason to leave the picture out.
    with suppress(Exception):
        orientation = int(picture.getexif().get(ORIENTATION, 1))
    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return picture.transpose(turns[orientation]) if orientation in turns else picture


def with_opaque_palette(picture: "Image.Image") -> "Image.Image":
    """`picture`, whose palette has transparent colours, with what they look like on white instead.

    That is done for up to 256 colours, and not for each pixel.
    """
    colours, transparency = picture.getpalette("RGB") or [], picture.info["transparency"]
    count = len(colours) // 3
    if isinstance(transparency, bytes):
        alphas = list(transparency[:count]) + [255] * (count - len(transparency))
    else:
        alphas = [0 if index == transparency else 255 for index in range(count)]
    blended = [
        (colours[3 * index + channel] * alpha + 255 * (255 - alpha) + 127) // 255
        for index, alpha in enumerate(alphas)
        for channel in range(3)
    ]
    opaque = picture.copy()
    opaque.putpalette(blended)
    del opaque.info["transparency"]
    return opaque


def on_white(picture: "Image.Image") -> "Image.Image":
    """`picture`, in RGBA, on a white background, in RGB."""
    from PIL import Image

    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, (0, 0), picture)
    return white


def why(error: Exception) -> str:
    """Why a picture cannot be read, in a line, without the file's name.

    >>> why(OSError("image file is truncated"))
    'image file is truncated'
    """
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text or type(error).__name__
