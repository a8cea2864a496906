"""Files of matplotlib's figures."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from fxbin.atomic_write import replace_file
from fxbin.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figure_path(path: Path, option: str) -> None:
    """Raise DataError unless the suffix of `path`, the value of `option`, is a format of matplotlib.

    Without matplotlib nothing is checked: whoever draws says what to install.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        return
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        names = ", ".join(f".{name}" for name in sorted(formats))
        raise DataError(f"{option}: {str(path)!r}: expected a name that ends in .svg, or one of {names}.")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write `figure` to `path` in the format that its suffix names; a crash leaves the old file or the new.

    The same figure gives the same SVG file, without a date.
    """
    kind = path.suffix[1:].lower()
    drawn = BytesIO()
    figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    replace_file(path, drawn.getvalue())
