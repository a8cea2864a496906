from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fxbin.errors import DataError
from fxbin.train.curves import draw_curves
from fxbin.train.history import EpochRecord

pytest.importorskip("matplotlib")


def test_the_picture_is_svg_and_the_same_each_time(tmp_path: Path) -> None:
    history = [
        EpochRecord("pretraining", 0, "pretraining", 1e-3, 1e-5, 1.5, 60.0, 70.0, 1.0),
        EpochRecord("staged", 0, "a stage of one's own", 1e-3, 1e-5, 0.5, 80.0, 75.0, 1.0),
    ]
    for name in ("one.svg", "two.svg"):
        draw_curves(history, tmp_path / name)
    assert ET.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        draw_curves([], tmp_path / "curves.svg")
