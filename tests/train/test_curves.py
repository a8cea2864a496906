from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fxbin.errors import DataError
from fxbin.train.curves import draw_curves, draw_losses, shade_stages
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


def test_a_teacher_adds_the_parts_of_the_loss_and_their_names(tmp_path: Path) -> None:
    plain = EpochRecord("pretraining", 0, "pretraining", 1e-3, 1e-5, 1.5, 60.0, 70.0, 1.0, label_loss=1.5)
    taught = EpochRecord("staged", 0, "activations", 1e-3, 1e-5, 1.5, 60.0, 70.0, 1.0, None, 0.5, 1.0)
    for name, history in (("plain.svg", [plain]), ("taught.svg", [plain, taught, taught])):
        draw_curves(history, tmp_path / name)
    lines = [ET.parse(tmp_path / name).getroot().findall(".//*[@id]") for name in ("plain.svg", "taught.svg")]
    legends = [sum(item.attrib["id"].startswith("legend_") for item in found) for found in lines]
    assert legends == [1, 2]


def test_with_a_teacher_each_part_of_the_loss_has_its_own_line_which_does_not_jump() -> None:
    from matplotlib.figure import Figure

    plain = EpochRecord("pretraining", 0, "pretraining", 1e-3, 1e-5, 1.5, 60.0, 70.0, 1.0, label_loss=1.5)
    taught = EpochRecord("staged", 0, "activations", 1e-3, 1e-5, 2.4, 60.0, 70.0, 1.0, None, 1.4, 1.0)
    axes = Figure().subplots()
    draw_losses(axes, [plain, taught])
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(lines) == ["on labels", "distance to the teacher", "weighted sum"]
    assert str(lines["on labels"].get_ydata()) == "[1.5 1.4]"
    assert lines["on labels"].get_linestyle() == "-"
    assert lines["weighted sum"].get_linestyle() == ":"


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        draw_curves([], tmp_path / "curves.svg")


def test_epochs_are_numbered_as_the_lines_of_the_training_count_them() -> None:
    from matplotlib.figure import Figure

    def record(phase: str, epoch: int) -> EpochRecord:
        return EpochRecord(phase, epoch, phase, 1e-3, 1e-5, 1.5, 60.0, 70.0, 1.0)

    axes = Figure().subplots()
    shade_stages(axes, [*(record("pretraining", epoch) for epoch in range(2)), record("staged", 0)])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "1"]
    assert axes.get_xticks().tolist() == [1, 2, 3]
