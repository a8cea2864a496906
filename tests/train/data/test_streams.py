import itertools
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin import load_config
from fxbin.config import Config
from fxbin.errors import CheckpointError, DataError
from fxbin.train.data import open_data, shard_index
from fxbin.train.data.kept import check_same_held_out
from fxbin.train.data.shard_cache import Counted
from fxbin.train.data.shards import samples
from fxbin.train.data.stream_data import StreamBatches, StreamData
from fxbin.train.data.stream_order import Layout, StreamOrder
from tests.shards import write_shards

COUNTS = (7, 1, 12, 4, 13)
PICTURES = sum(COUNTS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(tmp_path, "train", COUNTS)
    write_shards(tmp_path, "val", (3, 6))
    return tmp_path


def config(folder: Path, **changes: Any) -> Config:
    return load_config(
        {
            "data": f"wds:{folder}/train-{{0..4}}.tar",
            "data_held_out": f"wds:{folder}/val-*.tar",
            "workers": 0,
            "batch_size": 6,
            "shuffle_buffer": 48,
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "pictures": {"normalize": "none"},
            "compression": {"algorithm": "binarization"},
        }
        | changes
    )


def opened(settings: Config) -> StreamData:
    data = open_data(settings)
    assert isinstance(data, StreamData)
    return data


def positions(batches: Any) -> list[list[int]]:
    """Which pictures are in each batch."""
    found = []
    for x, labels in batches:
        found.append((x[:, 0, 0, 0] * 255).round().int().tolist())
        assert labels.tolist() == [position % 3 for position in found[-1]]
    return found


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_epoch_has_each_picture_once_whatever_the_processes_and_workers(folder: Path, ranks: int) -> None:
    settings = config(folder)
    data = opened(settings)
    assert data.class_names == ("0", "1", "2")
    parts = [positions(data.training(settings, 5, rank, ranks).epoch(2)) for rank in range(ranks)]
    assert sorted(itertools.chain(*itertools.chain(*parts))) == list(range(PICTURES))
    lengths = {len(part) for part in parts}
    assert lengths == {len(data.training(settings, 5, 0, ranks))}
    for batch in zip(*parts, strict=True):
        sizes = [len(part) for part in batch]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2
    for workers in (1, 3):
        other = opened(config(folder, workers=workers))
        assert positions(other.training(settings, 5, 0, ranks).epoch(2)) == parts[0]
    assert positions(data.training(settings, 5, 0, ranks).epoch(3)) != parts[0]


def test_an_epoch_goes_on_anywhere_with_other_workers_and_another_number_of_processes(folder: Path) -> None:
    settings = config(folder)
    data = opened(config(folder, workers=2))
    layout = Layout(2, 4)

    def batches(rank: int, ranks: int) -> StreamBatches:
        return StreamBatches(data, 6, 0, rank, ranks, layout)

    whole = [positions(batches(rank, 2).epoch(0)) for rank in (0, 1)]
    assert positions(batches(0, 2).epoch(0, start=3)) == whole[0][3:]
    together = [one + other for one, other in zip(*whole, strict=True)]
    assert positions(batches(0, 1).epoch(0, start=2)) == together[2:]
    parts = [positions(batches(rank, 3).epoch(0, start=2)) for rank in range(3)]
    assert [list(itertools.chain(*batch)) for batch in zip(*parts, strict=True)] == together[2:]
    assert settings.batch_size == 6


def test_lanes_cover_the_samples_without_a_gap() -> None:
    sizes = [10] * 7 + [13]
    for ranks, lanes in itertools.product((1, 2, 5), (1, 2, 4)):
        order = StreamOrder(sizes, Layout(ranks, lanes))
        ends = [order.lane(rank, lane) for rank in range(ranks) for lane in range(lanes)]
        assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
        assert ends[-1][1] == 83


def test_shards_are_shuffled_and_pictures_within_a_buffer(folder: Path) -> None:
    settings = config(folder, shuffle_buffer=1)
    in_order = list(itertools.chain(*positions(opened(settings).training(settings, 0).epoch(0))))
    settings = config(folder, shuffle_buffer=160)
    shuffled = list(itertools.chain(*positions(opened(settings).training(settings, 0).epoch(0))))
    assert in_order != sorted(in_order)
    assert in_order != shuffled


def test_held_out_pictures_come_once_in_the_same_batches_for_any_processes(folder: Path) -> None:
    for workers in (0, 2):
        data = opened(config(folder, workers=workers, batch_size=2))
        whole = positions(data.held_out())
        assert sorted(whole) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
        parts = positions(data.held_out(0, 2)) + positions(data.held_out(1, 2))
        assert sorted(parts) == sorted(whole)
    x, _ = data.samples(3)
    assert len(x) == 3


def test_mean_and_deviation_are_those_of_the_stream(folder: Path) -> None:
    data = opened(config(folder, pictures={"normalize": "data"}))
    assert data.preprocessing.mean[0] == pytest.approx(sum(range(PICTURES)) / PICTURES / 255, abs=1e-4)


def test_shards_are_counted_once_and_again_when_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    count = shard_index.count

    def noted(url: str) -> Counted:
        counted.append(url)
        return count(url)

    monkeypatch.setattr(shard_index, "count", noted)
    opened(config(folder))
    assert len(counted) == 7
    opened(config(folder))
    assert len(counted) == 7
    write_shards(folder, "train", (*COUNTS[:4], 14))
    os.utime(folder / "train-4.tar", ns=(1, 1))
    data = opened(config(folder))
    assert data.training_pictures == PICTURES + 1
    assert f"{folder}/train-4.tar" in counted[7:]


def test_a_shard_elsewhere_that_has_shrunk_is_counted_again_at_the_next_start(folder: Path) -> None:
    pytest.importorskip("webdataset")
    settings = config(folder, data=f"wds:pipe:cat {folder}/train-2.tar", workers=0)
    before = opened(settings).training_pictures
    write_shards(folder, "train", (1, 1, before - 1))
    data = opened(settings)
    assert data.training_pictures == before  # nothing tells that it has changed
    with pytest.raises(DataError, match="fewer than when they were counted"):
        list(data.training(settings, 0).epoch(0))
    assert opened(settings).training_pictures == before - 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_elsewhere_that_has_grown_is_read_as_far_as_it_was_counted_and_that_is_told(
    folder: Path, workers: int
) -> None:
    pytest.importorskip("webdataset")
    shard = f"pipe:cat {folder}/train-2.tar"
    settings = config(folder, data=f"wds:{shard}", data_held_out=f"wds:{shard}", workers=workers)
    before = opened(settings).training_pictures
    write_shards(folder, "train", (1, 1, before + 3))
    data = opened(settings)
    note = f"data: the shard {shard} has {before + 3} samples, and had {before} when they were counted"
    for read in (data.training(settings, 0).epoch(0), data.held_out(), data.training(settings, 0).epoch(1)):
        assert sum(len(labels) for _, labels in read) == before
        assert [each.partition(":")[0] for each in data.epoch_notes()] == ["data"]
        assert data.epoch_notes()[0].startswith(f"{note}: only these are read. Start again")
    data = opened(settings)
    assert data.training_pictures == before + 3
    assert sum(len(labels) for _, labels in data.held_out()) == before + 3
    assert data.epoch_notes() == []


def test_compressed_shards_commands_and_names_of_classes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    with tarfile.open(folder / "train-1.tar") as tar, tarfile.open(folder / "named.tar.gz", "w:gz") as new:
        for member in tar:
            new.addfile(member, tar.extractfile(member))
    settings = config(
        folder,
        data=f"wds:pipe:cat {folder}/train-0.tar::{folder}/named.tar.gz",
        data_held_out=f"pipe:cat {folder}/val-0.tar",
    )
    data = opened(settings)
    assert sorted(itertools.chain(*positions(data.training(settings, 0).epoch(0)))) == list(range(8))
    assert positions(data.held_out()) == [[0, 1, 2]]


def rewrite(path: Path, change: Any) -> None:
    """Let `change` alter name and content of the members of a shard; None leaves one out."""
    import io

    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, content in filter(None, (change(*member) for member in members)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n, c: None if n.endswith("07.cls") else (n, c),
            r"the sample 'pictures/000007' of .*train-1.tar has no label",
        ),
        (
            lambda n, c: None if n.endswith("07.png") else (n, c),
            r"'pictures/000007' of .*train-1.tar has no picture",
        ),
        (
            lambda n, c: (n, b"-1" if n.endswith("cls") else c),
            "some shards have numbers as labels, others names such as '-1'",
        ),
        (lambda n, c: None, r"the shard .*train-1.tar has no samples"),
    ],
)
def test_a_shard_that_is_not_what_it_should_be_is_refused(folder: Path, change: Any, message: str) -> None:
    rewrite(folder / "train-1.tar", change)
    with pytest.raises(DataError, match=message):
        opened(config(folder))


def test_missing_and_damaged_shards_are_refused_before_training(folder: Path) -> None:
    with pytest.raises(DataError, match='Name those that are held out with "data_held_out": "wds:PATTERN"'):
        opened(config(folder).model_copy(update={"data_held_out": None}))
    with pytest.raises(
        DataError, match=r"data_held_out: 2 of 3 shards do not exist: .*val-2.tar, .*val-3.tar"
    ):
        opened(config(folder, data_held_out=f"{folder}/val-{{1..3}}.tar"))
    with pytest.raises(DataError, match=r"data_held_out: 1 of 1 shards do not exist.*correct the pattern"):
        opened(config(folder, data_held_out=f"{folder}/none-*.tar"))
    whole = (folder / "train-2.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    (folder / "train-2.tar").write_bytes(whole[: end + 512 - end % 512])  # after the last sample
    with pytest.raises(
        DataError,
        match=r"the shard .*train-2.tar cannot be read: unexpected end of data.* it again, or leave",
    ):
        opened(config(folder))
    (folder / "train-2.tar").write_bytes(b"no tar file at all")
    with pytest.raises(DataError, match=r"the shard .*train-2.tar cannot be read"):
        opened(config(folder))


def test_a_class_that_is_only_held_out_is_refused(folder: Path) -> None:
    write_shards(folder, "other", (9,), classes=5)
    with pytest.raises(DataError, match="data_held_out: there are samples of the classes 4, and none"):
        opened(config(folder, data_held_out=f"{folder}/other-0.tar"))


def test_a_shard_that_vanishes_or_shrinks_while_it_is_read_is_named(folder: Path) -> None:
    settings = config(folder, workers=1)
    data = opened(settings)
    (folder / "train-3.tar").unlink()
    with pytest.raises(DataError, match=r"the shard .*train-3.tar cannot be read: .*No such file"):
        list(data.training(settings, 0).epoch(0))
    write_shards(folder, "train", (7, 1, 12, 2))
    with pytest.raises(
        DataError, match=r"the shard .*train-3.tar has . samples, fewer than when they were counted"
    ):
        list(data.training(settings, 0).epoch(0))


def test_a_bad_picture_in_a_shard_is_left_out_and_named(folder: Path) -> None:
    rewrite(folder / "train-2.tar", lambda n, c: (n, c[:40] if n.endswith("10.png") else c))
    settings = config(folder, bad_pictures=0.05)
    data = opened(settings)
    seen = sorted(itertools.chain(*positions(data.training(settings, 0).epoch(0))))
    assert seen == [position for position in range(PICTURES) if position != 10]
    (note,) = data.epoch_notes()
    assert note.startswith(
        f"1 of {PICTURES} training pictures cannot be read: 'pictures/000010' of {folder}/train-2"
    )


def test_augmentation_is_the_same_for_any_workers_and_processes(folder: Path) -> None:
    settings = config(folder, augmentation={"crop": 0.5, "flip": True, "rand_augment": 1})
    alone = opened(settings).training(settings, 1)
    assert isinstance(alone, StreamBatches)
    halves = [StreamBatches(opened(settings), 6, 1, rank, 2, alone.layout) for rank in (0, 1)]
    pairs = zip(alone.epoch(0), *(half.epoch(0) for half in halves), strict=True)
    for (x, _), (first, _), (second, _) in pairs:
        assert torch.equal(x, torch.cat([first, second]))


@pytest.mark.parametrize("stream", ["", "pipe:cat "])
@pytest.mark.parametrize("beyond", [0, 100])
def test_a_shard_that_is_cut_off_between_two_members_or_in_a_header_is_refused(
    folder: Path, stream: str, beyond: int
) -> None:
    file = folder / "train-2.tar"
    with tarfile.open(file) as tar:
        place = tar.getmembers()[6].offset
    file.write_bytes(file.read_bytes()[: place + beyond])
    with pytest.raises(DataError, match=r"the shard .*train-2.tar cannot be read: unexpected end of data"):
        opened(config(folder, data=f"wds:{stream}{file}"))


def test_a_damaged_header_is_not_taken_for_the_end_of_a_shard(folder: Path) -> None:
    file = folder / "train-2.tar"
    with tarfile.open(file) as tar:
        place = tar.getmembers()[6].offset
    content = bytearray(file.read_bytes())
    content[place : place + 100] = b"x" * 100
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train-2.tar cannot be read: bad checksum: the archive is damaged"):
        opened(config(folder))


def test_samples_in_a_row_with_one_name_are_refused(folder: Path) -> None:
    rewrite(folder / "train-1.tar", lambda n, c: ("same." + n[-3:], c))  # of one sample
    assert opened(config(folder)).training_pictures == PICTURES
    rewrite(folder / "train-2.tar", lambda n, c: ("same." + n[-3:], c))
    with pytest.raises(
        DataError, match=r"train-2.tar cannot be read: the sample 'same' has two members .png"
    ):
        opened(config(folder))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("cat {folder}/none.tar", r"its command ended with the exit status 1 \(unexpected end of data"),
        ("head -c 9000 {folder}/train-2.tar; exit 5", r"its command ended with the exit status 5 \("),
    ],
)
def test_a_command_that_fails_is_named_with_its_exit_status(folder: Path, command: str, message: str) -> None:
    with pytest.raises(DataError, match=f"the shard pipe:.* cannot be read: {message}"):
        opened(config(folder, data="wds:pipe:" + command.format(folder=folder)))


def test_a_command_whose_output_is_not_read_to_its_end_is_no_error(folder: Path) -> None:
    file, url = folder / "train-2.tar", f"pipe:cat {folder}/train-2.tar"
    rewrite(file, lambda n, c: (n, c if n.endswith("cls") else c + bytes(2**17)))  # more than a pipe holds
    assert len(list(samples(url))) == 12
    assert len(list(samples(url, skip=1, count=2))) == 2


@pytest.mark.parametrize("label", ["[1]", "1.5", "true", "null"])
def test_a_label_in_json_that_is_neither_number_nor_name_is_named_with_its_key(
    folder: Path, label: str
) -> None:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        is_label = name.endswith("cls")
        return name.replace(".cls", ".json"), f'{{"label": {label}}}'.encode() if is_label else content

    rewrite(folder / "val-0.tar", change)
    with pytest.raises(DataError) as caught:
        opened(config(folder))
    assert f"val-0.tar has {{\"label\": {label}}} in its .json, expected a number or a name as 'label'" in (
        str(caught.value)
    )


def test_a_stream_keeps_which_pictures_are_held_out(folder: Path) -> None:
    kept = opened(config(folder)).kept()
    (folder / "train-5.tar").write_bytes((folder / "train-0.tar").read_bytes())
    check_same_held_out(kept, opened(config(folder, data=f"wds:{folder}/train-*.tar")).kept())
    write_shards(folder, "val", (3, 5))
    with pytest.raises(CheckpointError, match=r"data: the held-out pictures \(9, now 8\) are not those that"):
        check_same_held_out(kept, opened(config(folder)).kept())
