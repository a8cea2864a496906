import errno
import os
from pathlib import Path

import pytest

from fxbin.errors import DataError
from fxbin.train.checks import check
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
    with pytest.raises(DataError, match=r"held_out_share: 0.2 of each class in .* no class has two pictures"):
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


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_picture_that_is_added_moves_at_most_one_of_the_others(tmp_path: Path, label: int) -> None:
    write_folder(tmp_path, pictures=20)
    before = set(names(open_folder(tmp_path, None, 0.2, 0).held_out, tmp_path))
    assert len(before) == 12
    new = tmp_path / f"class_{label}"
    for number in range(3):
        (new / f"00{number}a.png").write_bytes((new / "000.png").read_bytes())
        parts = open_folder(tmp_path, None, 0.2, 0)
        after = set(names(parts.held_out, tmp_path))
        assert len(after - before) <= 1
        assert len(before - after) <= 1
        assert all(name.startswith(f"class_{label}/") for name in after ^ before)
        assert not after & set(names(parts.training, tmp_path))
        before = after


def test_the_split_depends_on_nothing_but_names_below_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", pictures=10)
    write_folder(tmp_path / "two/train", pictures=10, seed=1)
    parts = [open_folder(tmp_path / name, None, 0.2, 3) for name in ("one", "two/train")]
    assert [*parts[0].held_out.names()] == [*parts[1].held_out.names()]
    assert next(iter(parts[0].held_out.names())).startswith("class_0/0")


def test_every_class_has_pictures_of_both_kinds_if_it_has_two(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=2, pictures=2)
    (tmp_path / "class_2").mkdir()
    (tmp_path / "class_2/a.png").write_bytes((tmp_path / "class_0/000.png").read_bytes())
    for share in (0.001, 0.2, 0.999):
        parts = open_folder(tmp_path, None, share, 0)
        assert [
            sorted(part.read(i)[1] for i in range(len(part))) for part in (parts.training, parts.held_out)
        ] == [
            [0, 1, 2],
            [0, 1],
        ]
        assert parts.notes == ("data: no held-out pictures of class_2",)


@pytest.mark.parametrize(
    ("training", "held_out"), [("Train", "Val"), ("TRAINING", "testing"), ("training", "Validation")]
)
def test_folders_of_both_parts_are_found_whatever_their_case(
    tmp_path: Path, training: str, held_out: str
) -> None:
    write_folder(tmp_path / training, classes=2, pictures=3)
    write_folder(tmp_path / held_out, classes=2, pictures=1)
    parts = open_folder(tmp_path, None, 0.2, 0)
    assert parts.class_names == ("class_0", "class_1")
    assert (len(parts.training), len(parts.held_out)) == (6, 2)


def test_folders_of_parts_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "a/Val", classes=2)
    write_folder(tmp_path / "a/test", classes=2)
    with pytest.raises(DataError, match=r"/a has Val, test, but no folder 'train' .*'folder:.*/a/Val'"):
        open_folder(tmp_path / "a", None, 0.2, 0)
    write_folder(tmp_path / "a/train", classes=2)
    assert names(open_folder(tmp_path / "a", None, 0.2, 0).held_out, tmp_path)[0].startswith("a/Val/")
    write_folder(tmp_path / "a/Training", classes=2)
    with pytest.raises(DataError, match=r"/a has the folders train, Training, and it is not clear which"):
        open_folder(tmp_path / "a", None, 0.2, 0)


def test_links_to_a_folder_above_are_not_followed_and_told_of(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", classes=2, pictures=4)
    write_folder(tmp_path / "elsewhere", classes=1, pictures=3)
    for name, target in (
        ("self", "../class_0"),
        ("root", ".."),
        ("up", "../.."),
        ("more", "../../elsewhere"),
    ):
        (tmp_path / "pictures/class_0" / name).symlink_to(target)
    parts = open_folder(tmp_path / "pictures", None, 0.25, 0)
    assert len(parts.training) + len(parts.held_out) == 4 + 3 + 4
    assert len(parts.notes) == 1
    assert parts.notes[0].startswith("data: links to folders that are read already are left out: ")
    assert all(f"class_0/{name}" in parts.notes[0] for name in ("self", "root", "up"))


def test_hidden_folders_and_files_are_no_pictures_and_the_folders_are_told_of(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=2, pictures=4)
    for name in ("__MACOSX", ".thumbs"):
        write_folder(tmp_path / name, classes=2)
        write_folder(tmp_path / "class_0" / name, classes=1)
    (tmp_path / "class_1/._000.png").write_bytes(b"no picture")
    parts = open_folder(tmp_path, None, 0.25, 0)
    assert parts.class_names == ("class_0", "class_1")
    assert len(parts.training) + len(parts.held_out) == 8
    place = tmp_path / "class_0"
    assert parts.notes == (
        f"data: hidden folders are left out: {place}/.thumbs, {place}/__MACOSX",
        f"data: hidden folders are no classes: .thumbs, __MACOSX in {tmp_path}",
    )


def test_files_beside_class_folders_are_told_of(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", classes=2, pictures=2)
    write_folder(tmp_path / "val", classes=2, pictures=1)
    for name in ("03.png", "README.txt", ".hidden"):
        (tmp_path / "train" / name).touch()
    (tmp_path / "list.txt").touch()  # beside the parts, which are no classes
    (note,) = open_folder(tmp_path, None, 0.2, 0).notes
    assert note == (
        f"data: files beside the class folders are left out: 03.png, README.txt in {tmp_path / 'train'}"
    )


@pytest.mark.parametrize("inner", ["class_1", "class_1/deeper"])
def test_a_folder_that_cannot_be_listed_is_an_error_and_not_one_without_pictures(
    tmp_path: Path, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, classes=2, pictures=4)
    (tmp_path / inner).mkdir(exist_ok=True)
    scandir = os.scandir

    # Tests may run as root, who may list any folder.
    def refusing(path: str) -> object:
        if Path(path) == tmp_path / inner:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=rf"the folder .*/{inner}/? cannot be listed: Permission denied"):
        open_folder(tmp_path, None, 0.2, 0)


def test_one_class_is_enough_to_be_evaluated_and_too_few_to_be_trained_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", classes=1)
    assert open_folder(folder, folder, 0.2, 0).class_names == ("class_0",)
    keys = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}
    named = {"data": f"folder:{folder}", "data_held_out": f"folder:{folder}", "workers": 0}
    (problem,) = check(keys | named).problems
    assert "has only the class 'class_0', expected at least two" in problem
