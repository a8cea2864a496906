import os
from pathlib import Path

import pytest

from fxbin.errors import DataError
from fxbin.train.data.folder import open_folder
from fxbin.train.data.picture_set import Texts
from tests.folders import write_folder


def names(pictures: object, root: Path) -> list[str]:
    every = [pictures.where(index) for index in range(len(pictures))]  # type: ignore[attr-defined,arg-type]
    return [os.path.relpath(name, root) for name in every]


def test_train_and_val_beside_each_other_are_found(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", classes=2, pictures=2)
    write_folder(tmp_path / "val", classes=2, pictures=1)
    parts = open_folder(tmp_path, None, 0.2, 0)
    assert parts.class_names == ("class_0", "class_1")
    assert names(parts.training, tmp_path) == [
        f"train/class_{label}/{index:03}.png" for label in (0, 1) for index in (0, 1)
    ]
    assert names(parts.held_out, tmp_path) == ["val/class_0/000.png", "val/class_1/000.png"]
    assert parts.training.read(2) == (tmp_path / "train/class_1/000.png", 1)
    assert parts.notes == ()


def test_a_folder_of_its_own_may_hold_the_held_out_pictures_of_some_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", classes=3, pictures=2)
    write_folder(tmp_path / "other", classes=3, pictures=1)
    for file in (tmp_path / "other/class_1").iterdir():
        file.unlink()
    (tmp_path / "other/class_1").rmdir()
    parts = open_folder(tmp_path / "mine", tmp_path / "other", 0.2, 0)
    assert [parts.held_out.read(index)[1] for index in range(2)] == [0, 2]
    assert parts.notes == ("data: no held-out pictures of class_1",)


def test_one_folder_is_split_by_class_and_seed_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=2, pictures=10)
    first, again, other = (open_folder(tmp_path, None, 0.3, seed) for seed in (0, 0, 1))
    assert [sum(first.held_out.read(i)[1] == label for i in range(6)) for label in (0, 1)] == [3, 3]
    together = names(first.training, tmp_path) + names(first.held_out, tmp_path)
    assert len(together) == len(set(together)) == 20
    assert names(first.held_out, tmp_path) == names(again.held_out, tmp_path)
    assert names(first.held_out, tmp_path) != names(other.held_out, tmp_path)


def test_pictures_in_folders_of_class_folders_count_and_other_files_are_told_of(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=2, pictures=4)
    (tmp_path / "class_0/deeper").mkdir()
    (tmp_path / "class_0/000.png").rename(tmp_path / "class_0/deeper/a.PNG")
    (tmp_path / "class_1/notes.txt").write_text("not a picture")
    (tmp_path / "class_1/.hidden").write_text("not even told of")
    parts = open_folder(tmp_path, None, 0.5, 0)
    assert "class_0/deeper/a.PNG" in names(parts.training, tmp_path) + names(parts.held_out, tmp_path)
    assert parts.notes == (f"data: 1 file is left out in {tmp_path}, by the ends of their names no pictures",)


def test_folders_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data: the folder .*none does not exist"):
        open_folder(tmp_path / "none", None, 0.2, 0)
    write_folder(tmp_path / "a" / "train", classes=2)
    with pytest.raises(DataError, match=r"has the folder 'train' but none of val, test.*data_held_out"):
        open_folder(tmp_path / "a", None, 0.2, 0)
    with pytest.raises(DataError, match=r"data_held_out: the folder .*/b does not exist"):
        open_folder(tmp_path / "a", tmp_path / "b", 0.2, 0)
    write_folder(tmp_path / "c", classes=1)
    with pytest.raises(
        DataError, match="has only the folder 'class_0', expected a folder of pictures for each"
    ):
        open_folder(tmp_path / "c", None, 0.2, 0)
    write_folder(tmp_path / "d", classes=2, pictures=1)
    with pytest.raises(DataError, match=r"held_out_share: 0.2 of each class in .* is less than a picture"):
        open_folder(tmp_path / "d", None, 0.2, 0)
    (tmp_path / "d" / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"the class folder .*/d/empty has no pictures \(files that end in .jpg"
    ):
        open_folder(tmp_path / "d", None, 0.2, 0)
    write_folder(tmp_path / "e", classes=3)
    with pytest.raises(DataError, match=r"/e has the class folders class_2, which .*/a/train lacks"):
        open_folder(tmp_path / "a", tmp_path / "e", 0.2, 0)


def test_texts_in_one_block_come_back_as_they_were() -> None:
    written = ["", "a", "päth/with ünicode.png", "\udcff not valid"]
    assert list(Texts(written)) == written
