import torch

from fxbin import load_config
from fxbin.train.data import ImageData

x, y = torch.arange(1203.0).reshape(-1, 1, 1, 1), torch.arange(1203) % 3
DATA = ImageData("mnist", x[:40], y[:40], x, y, classes=3)


def test_processes_evaluate_the_batches_of_one_process_each_once() -> None:
    whole = list(DATA.held_out())
    assert [len(labels) for _, labels in whole] == [500, 500, 203]
    for ranks in (2, 4):
        parts = [batch for rank in range(ranks) for batch in DATA.held_out(rank, ranks)]
        assert sorted(int(pictures[0]) for pictures, _ in parts) == [0, 500, 1000]
        assert sum(len(labels) for _, labels in parts) == 1203


def test_an_epoch_begun_later_goes_on_as_the_whole_one() -> None:
    settings = {"batch_size": 16, "augmentation": {"shift": 1, "flip": True}}
    config = load_config(settings | {"compression": {"algorithm": "binarization"}})
    batches = DATA.training(config, seed=1)
    whole = list(batches.epoch(2))
    for start in (0, 2, 3):
        rest = list(batches.epoch(2, start))
        assert len(rest) == len(batches) - start
        assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[start:], strict=True))


def test_classes_without_names_are_called_by_their_labels() -> None:
    assert DATA.class_names == ("0", "1", "2")
    assert DATA.picture == (1, 1, 1)
