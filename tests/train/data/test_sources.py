"""Sources other than folders and shards: torchvision, Hugging Face, IDX files, functions of the user."""

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fxbin import load_config
from fxbin.config import Config
from fxbin.errors import ConfigError, DataError
from fxbin.train.data import ImageData, open_data
from fxbin.train.data.indexed import names_of, split_parts
from fxbin.train.data.kept import kept_of_held_out, why_not_held_out
from tests.folders import write_folder


def config(data: str, **changes: Any) -> Config:
    return load_config(
        {
            "data": data,
            "workers": 0,
            "batch_size": 4,
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "pictures": {"normalize": "none"},
            "compression": {"algorithm": "binarization"},
        }
        | changes
    )


def labels(batches: Any) -> list[int]:
    return [int(label) for _, part in batches for label in part]


def write_cifar(folder: Path) -> None:
    """CIFAR-10's files with five pictures in each, without the checksums that torchvision looks at."""
    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        content = {"data": torch.zeros(5, 3072, dtype=torch.uint8).numpy(), "labels": [0, 1, 2, 3, 9]}
        (base / name).write_bytes(pickle.dumps(content))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {i}" for i in range(10)]}))


def test_torchvision_sets_are_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    settings = config("torchvision:CIFAR10", data_dir=str(tmp_path))
    data = open_data(settings)
    assert data.class_names[9] == "name 9"
    assert (data.training_pictures, data.held_out_pictures) == (25, 5)
    assert sorted(set(labels(data.training(settings, 0).epoch(0)))) == [0, 1, 2, 3, 9]
    assert labels(data.held_out()) == [0, 1, 2, 3, 9]


def test_torchvision_sets_with_splits_and_imagenet_by_its_layout(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", classes=2)
    write_folder(tmp_path / "val", classes=2, pictures=2)
    data = open_data(config("torchvision:ImageNet", data_dir=str(tmp_path)))
    assert (data.training_pictures, data.held_out_pictures) == (16, 4)
    with pytest.raises(
        DataError, match=r"'torchvision:SVHN' cannot be read from .* \(split='train'\): .*not found"
    ):
        open_data(config("torchvision:SVHN", data_dir=str(tmp_path)))


def test_torchvision_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXBIN_DATA", raising=False)
    with pytest.raises(DataError, match=r"data_dir: missing: .* needs the folder of its files.*--data-dir"):
        open_data(config("torchvision:CIFAR10"))
    with pytest.raises(DataError, match=r"cannot be read from .*train=True\): .*fxbin downloads nothing"):
        open_data(config("torchvision:CIFAR10", data_dir=str(tmp_path)))
    with pytest.raises(DataError, match=r"torchvision has no data set 'CIFAR11'. Did you mean 'CIFAR10'"):
        open_data(config("torchvision:CIFAR11", data_dir=str(tmp_path)))
    with pytest.raises(DataError, match=r"data_dir: the folder .*/none does not exist"):
        open_data(config("torchvision:CIFAR10", data_dir=str(tmp_path / "none")))


def test_hugging_face_sets_are_read_from_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    root = write_folder(tmp_path / "pictures")
    files = [str(file) for file in sorted(root.glob("*/*.png"))]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    whole = datasets.Dataset.from_dict(
        {"image": files, "label": [index // 8 for index in range(24)]}, features=features
    )
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": whole, "test": whole.select(range(7, 9))}).save_to_disk(tmp_path / "two")
    settings = config(f"hf:{tmp_path}/two")
    data = open_data(settings)
    assert data.class_names == ("a", "b", "c")
    assert sorted(labels(data.training(settings, 0).epoch(0))) == [0] * 8 + [1] * 8 + [2] * 8
    assert labels(data.held_out()) == [0, 1]
    data = open_data(config(f"hf:{tmp_path}/one", held_out_share=0.25))
    assert (data.training_pictures, labels(data.held_out())) == (18, [0, 0, 1, 1, 2, 2])
    with pytest.raises(DataError, match=r"data_held_out: .* has no split 'val', expected one of test, train"):
        open_data(config(f"hf:{tmp_path}/two", data_held_out="val"))
    whole.remove_columns("label").save_to_disk(tmp_path / "three")
    with pytest.raises(DataError, match="has the columns image, expected one of pictures"):
        open_data(config(f"hf:{tmp_path}/three"))


@pytest.mark.parametrize("spelling", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
def test_idx_files_of_any_folder_are_read_plain(tmp_path: Path, spelling: str) -> None:
    for part, count in (("train", 6), ("t10k", 3)):
        name = spelling.replace("train", part)
        pixels = bytes(range(count * 20))
        (tmp_path / name).write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, count, 5, 4) + pixels)
        numbers = bytes(index % 3 for index in range(count))
        file = tmp_path / name.replace("images", "labels").replace("idx3", "idx1")
        file.write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, count) + numbers)
    settings = config(f"idx:{tmp_path}", input_info=[], pictures={})
    data = open_data(settings)
    assert isinstance(data, ImageData)
    assert data.picture == (1, 5, 4)
    assert data.class_names == ("0", "1", "2")
    torch.testing.assert_close(data.train_x.mean(), torch.tensor(0.0), atol=1e-3, rtol=0)
    assert data.kept() is not None
    with pytest.raises(ConfigError, match=r"augmentation.crop: not for 'idx:.*kept in memory"):
        open_data(config(f"idx:{tmp_path}", pictures={}, augmentation={"crop": 0.5}))
    (tmp_path / spelling).unlink()
    with pytest.raises(DataError, match="lacks train-images-idx3-ubyte"):
        open_data(settings)


OWN = """
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

class Positions(Dataset):
    classes = ["a", "b", "c"]

    def __init__(self, count, wrong=None, floats=False):
        self.count, self.wrong, self.floats = count, wrong, floats

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.wrong == index:
            return "text", 0
        if self.floats:
            return torch.full((3, 8, 8), float(index)), index % 3
        return torch.randint(256, (3, 9, 9), dtype=torch.uint8), index % (4 if self.wrong == "label" else 3)

class Sequence(IterableDataset):
    classes = ["a", "b", "c"]

    def __init__(self, count, length=None):
        self.count, self.length, self.epoch = count, length or count, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.length

    def __iter__(self):
        for index in range(self.count):
            position = (index + self.epoch) % self.count
            yield torch.full((3, 8, 8), float(position)) + torch.rand(()) / 2, position % 3

def positions():
    return Positions(12), Positions(4)

def floats():
    return {"train": Positions(12, floats=True), "held_out": Positions(4, floats=True), "classes": "xyz"}

def wrong_picture():
    return Positions(12, wrong=3), Positions(4)

def wrong_label():
    return Positions(12, wrong="label"), Positions(4)

def sequences():
    return Sequence(12), Sequence(5)

def short():
    return Sequence(10, 12), Sequence(5)

def loaders(batch_size, sample_size):
    assert sample_size == [1, 3, 8, 8]
    x, y = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 8, 8), torch.arange(12) % 3
    train = DataLoader(TensorDataset(x, y), batch_size, shuffle=True)
    return {"train": train, "held_out": DataLoader(TensorDataset(x, y), 3), "classes": ["a", "b", "c"]}

def unlike():
    return Positions(3), Sequence(4)

def nothing():
    return None

def endless():
    return iter([]), Positions(3)

def asks(a):
    return None

def raises():
    helper()

def helper():
    raise KeyError("no such file")

def exits():
    raise SystemExit(3)

def twice():
    return {"train": Positions(12), "held_out": Positions(4), "classes": ["a", "b", "a"]}

class Dicts(Positions):
    def __getitem__(self, index):
        picture, label = super().__getitem__(index)
        return {"picture": picture, "kind": label}

def dicts():
    return Dicts(12), Dicts(4)

class OneDict(Positions):
    def __getitem__(self, index):
        return {"picture": 1, "kind": 2, "x": 3} if index == 5 else super().__getitem__(index)

def dicts_later():
    return OneDict(12), Positions(4)

class SequenceOfDicts(Sequence):
    def __iter__(self):
        for picture, label in super().__iter__():
            yield {"picture": picture, "kind": label}

def sequence_of_dicts():
    return SequenceOfDicts(12), SequenceOfDicts(5)

def batches_of_dicts():
    return Loader([{"x": torch.zeros(2, 3, 8, 8), "y": torch.tensor([0, 1])}]), Loader([])

class Loader:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return max(len(self.batches), 1)

    def __iter__(self):
        return iter(self.batches)

class Fails(Loader):
    def __iter__(self):
        yield torch.zeros(2, 3, 8, 8), torch.tensor([0, 1])
        raise OSError("gone")

def failing_loader():
    return Fails([]), Loader([])

def list_of_batches():
    x, y = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 8, 8), torch.arange(12) % 3
    batches = [(x[:5], y[:5]), (x[5:10], y[5:10]), (x[10:], y[10:])]
    return {"train": batches, "held_out": batches[1:], "classes": "abc"}

class Batches(Positions):
    def __getitem__(self, index):
        return torch.zeros(2, 3, 8, 8), torch.zeros(2)

def positions_of_batches():
    return Batches(3), Batches(2)

def longer():
    return Sequence(14, 12), Sequence(6, 5)

class Breaks(Sequence):
    def __iter__(self):
        yield torch.zeros(3, 8, 8), 0
        raise OSError("gone")

def breaks():
    return Breaks(12), Sequence(5)

class Nan(Positions):
    def __getitem__(self, index):
        picture, label = super().__getitem__(index)
        return picture / (index != self.wrong_at), label

def nan():
    data = Nan(12, floats=True)
    data.wrong_at = 7
    return data, Positions(4, floats=True)

def nan_first():
    data = Nan(12, floats=True)
    data.wrong_at = 0
    return data, Positions(4, floats=True)

def nan_held_out():
    data = Nan(4, floats=True)
    data.wrong_at = 2
    return Positions(12, floats=True), data

def nan_loader():
    bad = torch.zeros(2, 3, 8, 8)
    bad[1, 0, 0, 0] = float("inf")
    y = torch.tensor([0, 1])
    return {"train": [(bad, y)], "held_out": [(torch.ones_like(bad), y), (bad, y)], "classes": "ab"}
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}"


def content(batches: Any) -> Tensor:
    return torch.cat([x for x, _ in batches])


@pytest.mark.parametrize("name", ["positions", "floats", "sequences", "loaders"])
def test_what_a_function_returns_is_repeated_resumed_and_divided(own: str, name: str) -> None:
    pictures = {} if name == "loaders" else {"normalize": "none"}
    settings = config(f"{own}:{name}", pictures=pictures)
    data = open_data(settings)
    assert list(data.class_names) == (["x", "y", "z"] if name == "floats" else ["a", "b", "c"])
    whole = list(data.training(settings, 7).epoch(1))
    assert sorted(labels(whole)) == [0] * 4 + [1] * 4 + [2] * 4
    state = torch.get_rng_state()
    again = open_data(config(f"{own}:{name}", pictures=pictures, workers=1))
    rest = content(again.training(settings, 7).epoch(1, start=1))
    assert torch.equal(rest, content(whole[1:]))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(content(again.training(settings, 7).epoch(2)), content(whole))
    parts = [list(again.training(settings, 7, rank, 2).epoch(1)) for rank in (0, 1)]
    for batch, one, other in zip(whole, *parts, strict=True):
        assert torch.equal(batch[0], torch.cat([one[0], other[0]]))
    alone = sorted(labels(data.held_out()))
    assert sorted(labels(data.held_out(0, 2)) + labels(data.held_out(1, 2))) == alone
    x, _ = data.samples(2)
    assert x.shape == (2, *data.picture)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "wrong_picture",
            r"data: picture 3 of .*own.py:wrong_picture: got a str, expected a PIL picture, a tensor",
        ),
        ("wrong_label", r"data: picture \d of .*: the label is 3, expected a whole number from 0 to 2"),
        ("short", r"ended after 10 samples, but its length is more"),
        (
            "dicts_later",
            r"data: picture 5 of .*: got a dict with the keys picture, kind, .*\['image'\], item\['label'\]",
        ),
        (
            "sequence_of_dicts",
            r"data: sample 0 of .*: got a dict with the keys picture, kind, expected a pair",
        ),
        ("breaks", r"data: sample 1 of .*own.py:breaks cannot be read: OSError: gone"),
        ("failing_loader", "data: a loader failed at batch 2: OSError: gone"),
        ("nan", r"data: picture 7 of .*own.py:nan: the inputs have values that are not finite"),
        (
            "batches_of_dicts",
            r"data: a loader of .* gave a dict with the keys x, y, expected a pair.*collate_fn",
        ),
    ],
)
def test_items_that_are_not_what_they_should_be_are_named(own: str, name: str, message: str) -> None:
    is_loader = name in ("batches_of_dicts", "failing_loader")
    others = {"pictures": {}, "num_classes": 3} if is_loader else {}
    settings = config(f"{own}:{name}", workers=1, **others)
    with pytest.raises(DataError, match=message):
        list(open_data(settings).training(settings, 0).epoch(0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned a NoneType, expected a pair, to train on and held out"),
        ("endless", "the data to train on, a list_iterator, has no length: give it `__len__`"),
        ("unlike", "returned a Positions and a Sequence, expected two data sets with positions"),
        ("asks", "cannot be called: missing a required argument: 'a'. Its arguments may be sample_size"),
        ("raises", r"own.py:raises' failed: KeyError: 'no such file' \(.*/own.py:\d+\)"),
        ("exits", r"own.py:exits' failed: SystemExit: 3 \(.*/own.py:\d+\)"),
        ("twice", r"own.py:twice' returned 'a' more than once in 'classes'"),
        (
            "dicts",
            r"the first picture: got a dict with .* a pair.*return item\['picture'\], item\['kind'\]",
        ),
        ("positions_of_batches", r"the first item has a tensor \(2, 3, 8, 8\), which is a batch"),
        ("nan_first", r"data: the first picture: the inputs have values that are not finite"),
        ("lost", "has no function or class 'lost'"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(own: str, name: str, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        open_data(config(f"{own}:{name}"))


@pytest.mark.parametrize("name", ["floats", "loaders"])
def test_inputs_that_are_left_as_they_are_cannot_be_augmented(own: str, name: str) -> None:
    settings = config(f"{own}:{name}", augmentation={"flip": True}, pictures={})
    with pytest.raises(ConfigError, match=r"augmentation.flip: .* returns inputs of the model"):
        open_data(settings)


def test_keys_that_a_source_does_not_read_are_refused(own: str) -> None:
    with pytest.raises(
        ConfigError, match=r"pictures.resize: not for 'mnist', whose pictures are kept in memory"
    ):
        open_data(config("mnist", pictures={"resize": 30}))
    with pytest.raises(ConfigError, match=r"data_held_out: not for .*own.py:positions', which returns both"):
        open_data(config(f"{own}:positions", data_held_out="x"))


def test_a_list_of_batches_is_a_loader(own: str) -> None:
    settings = config(f"{own}:list_of_batches", pictures={})
    data = open_data(settings)
    assert (data.training_pictures, data.held_out_pictures) == (12, 7)
    batches = list(data.training(settings, 0).epoch(0))
    assert [len(y) for _, y in batches] == [5, 5, 2]
    assert torch.equal(content(batches)[:, 0, 0, 0], torch.arange(12.0))
    assert labels(data.held_out()) == [2, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_beyond_the_length_of_a_sequence_are_told_of(own: str, workers: int) -> None:
    settings = config(f"{own}:longer", workers=workers)
    data = open_data(settings)
    assert len(content(data.training(settings, 0).epoch(0))) == 12
    (note,) = data.epoch_notes()
    assert "the training data of" in note
    assert "go on after 12 samples, which is their length: the others are not used" in note
    assert len(content(data.held_out())) == 5
    assert len(content(data.training(settings, 0).epoch(1))) == 12
    assert len(data.epoch_notes()) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan_held_out", "picture 2 of .*, held out: the inputs"),
        ("nan_loader", "batch 2 of the held-out loader"),
    ],
)
def test_held_out_inputs_that_are_not_finite_are_named(own: str, name: str, message: str) -> None:
    data = open_data(config(f"{own}:{name}", pictures={} if name == "nan_loader" else {"normalize": "none"}))
    with pytest.raises(DataError, match=message):
        list(data.held_out())


def test_a_share_of_a_set_with_positions_stays_if_the_set_grows_and_is_not_taken_for_the_same() -> None:
    class Numbers:
        def __init__(self, count: int) -> None:
            self.targets = [0] * count

        def __len__(self) -> int:
            return len(self.targets)

    before, after = (
        {name.split()[0] for name in parts.held_out.names()}
        for parts in (split_parts(Numbers(count), ("a",), "it", 0.2, 0) for count in (20, 21))
    )
    assert len(before) == len(after) == 4
    assert len(before - after) <= 1
    kept = [
        kept_of_held_out(split_parts(Numbers(count), ("a",), "it", 0.2, 0).held_out.names(), is_share=True)
        for count in (20, 20, 21)
    ]
    assert why_not_held_out(kept[0], kept[1]) is None
    assert why_not_held_out(kept[0], kept[2]) is not None


def test_classes_of_one_name_in_a_data_set_are_told_apart() -> None:
    class Cranes:
        classes = ("crane", ("dog", "hound"), "crane")

    assert names_of(Cranes(), None, "it") == ("crane (0)", "dog, hound", "crane (2)")
