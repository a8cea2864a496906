import pytest
import torch
import torch.nn.functional as F

from fxbin import load_config
from fxbin.config.data import Augmentation
from fxbin.train.data import ImageData
from fxbin.train.data.mixing import mixed
from fxbin.train.distillation import DistillationLoss
from fxbin.train.label_loss import LabelLoss
from fxbin.train.meter import Meter

X = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 6, 6)
LABELS = torch.tensor([0, 1, 2, 0])


def test_mixup_blends_pictures_and_labels_by_one_share() -> None:
    x, labels = mixed((X, LABELS), Augmentation(mixup=0.5), 3, 1, 2)
    share = float(x[1, 0, 0, 0])  # of 1 beside 0
    assert 0 < share < 1
    torch.testing.assert_close(x, share * X + (1 - share) * X[[3, 0, 1, 2]])
    one_hot = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(labels, share * one_hot + (1 - share) * one_hot[[3, 0, 1, 2]])


def test_cutmix_replaces_one_rectangle_and_labels_say_how_much_is_left() -> None:
    shares = set()
    for seed in range(20):
        x, labels = mixed((X, LABELS), Augmentation(cutmix=1.0), 3, seed)
        cut = x[1, 0] == 0
        rows, columns = cut.any(1), cut.any(0)
        assert torch.equal(cut, rows[:, None] & columns)
        assert torch.equal(x[:, 0] != X[:, 0], cut.expand(4, 6, 6))
        assert labels[1, 0] == pytest.approx(float(cut.float().mean()))
        torch.testing.assert_close(labels.sum(1), torch.ones(4))
        shares.add(float(labels[1, 0]))
    assert len(shares) > 5


def test_each_batch_gets_one_of_both_and_the_global_random_state_is_kept() -> None:
    state = torch.get_rng_state()
    both = Augmentation(mixup=0.5, cutmix=0.5)
    kinds = {
        bool(((x == X) | (x == X[[3, 0, 1, 2]])).all())
        for x, _ in (mixed((X, LABELS), both, 3, s) for s in range(9))
    }
    assert kinds == {True, False}
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_in_memory_are_mixed_too_and_as_shares_of_all_outputs() -> None:
    data = ImageData("mnist", X, LABELS, X, LABELS, classes=3)
    section = {"compression": {"algorithm": "binarization"}, "batch_size": 4, "num_classes": 5}
    config = load_config(section | {"augmentation": {"mixup": 1.0}})
    ((x, labels),) = data.training(config, 0).epoch(0)
    assert x.shape == X.shape
    assert labels.shape == (4, 5)


def test_losses_and_the_meter_take_shares_of_classes() -> None:
    logits, labels = torch.randn(4, 3), torch.rand(4, 3)
    labels /= labels.sum(1, keepdim=True)
    smooth = 0.9 * labels + 0.1 / 3
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(LabelLoss(0.1)(logits, logits, labels), expected)
    loss = DistillationLoss(torch.nn.Identity(), label_smoothing=0.1, type="kl")
    torch.testing.assert_close(loss(logits, logits, labels), expected, atol=1e-6, rtol=1e-6)
    meter = Meter()
    meter.add(expected, labels.log(), labels)
    assert meter.accuracy == 100
