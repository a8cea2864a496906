"""Files that are replaced as a whole, by each of those who write one."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.atomic_write import replace_file, replacing
from fxbin.train.checkpoint import Checkpoint, save_checkpoint
from tests.transforming import SMALL


def binarized() -> Any:
    """A small model in its last stage, after its first batch."""
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3)), SMALL)
    model.binarization.enable(activations=True, weights=True)
    model(torch.rand(2, 3, 8, 8))
    return model


WRITERS: dict[str, Callable[[Path], object]] = {
    "replace_file": lambda path: replace_file(path, "new"),
    "checkpoint.pt": lambda path: save_checkpoint(
        Checkpoint({}, "staged", 0, {}, {}, {}, None, {}, []), path
    ),
    "nncf.pt": lambda path: fxbin.save_nncf_checkpoint(binarized(), path, epoch=-1),
    "model.pt2": lambda path: fxbin.export_program(binarized(), path),
    "model.onnx": lambda path: fxbin.export_onnx(binarized(), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_replaced_with_its_permissions_and_a_link_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    old, link = tmp_path / "elsewhere" / "old", tmp_path / name
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    WRITERS[name](link)
    assert link.is_symlink()
    assert old.read_bytes() != b"old"
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert sorted(tmp_path.rglob("*")) == sorted([old, old.parent, link])


def test_text_is_in_utf_8_and_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    replace_file(path, "ä")
    assert path.read_bytes() == "ä".encode()


def test_threads_that_write_to_one_folder_do_not_meet(tmp_path: Path) -> None:
    def write(name: str) -> set[str]:
        path = tmp_path / name
        found = set()
        for _ in range(50):
            replace_file(path, name)
            found.add(path.read_text())
        return found

    with ThreadPoolExecutor() as pool:
        assert [*pool.map(write, "abcd")] == [{"a"}, {"b"}, {"c"}, {"d"}]
    assert len([*tmp_path.iterdir()]) == 4


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path) as stream:
        stream.write((tmp_path / "missing").read_bytes())
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]
