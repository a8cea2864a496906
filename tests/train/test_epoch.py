import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fxbin.errors import DataError
from fxbin.train.distillation import DistillationLoss, soft_cross_entropy
from fxbin.train.epoch import predict, train_epoch
from fxbin.train.finite_loss import FiniteLosses
from fxbin.train.meter import Meter


def loss(logits: torch.Tensor, _x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels)


def data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=generator), torch.randint(0, 4, (n,), generator=generator)


def test_accumulated_batches_step_like_one_large_batch() -> None:
    x, y = data(22)
    small, large = (nn.Linear(3, 4).double() for _ in range(2))
    large.load_state_dict(small.state_dict())
    x = x.double()
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in (small, large)]
    steps: list[int] = []
    # Batches of 4, the last of 2; groups of 3: optimizer steps on 12 and on 10 images.
    train_epoch(
        small,
        list(zip(x.split(4), y.split(4), strict=True)),
        loss,
        optimizers[0],
        accumulate=3,
        on_step=lambda done, _made: steps.append(done),
    )
    train_epoch(large, [(x[:12], y[:12]), (x[12:], y[12:])], loss, optimizers[1])
    assert steps == [3, 6]
    torch.testing.assert_close(small.weight, large.weight, rtol=1e-12, atol=1e-12)


def test_meter_weighs_batches_by_their_images() -> None:
    meter = Meter()
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    meter.add(torch.tensor(1.0), logits[:2], torch.tensor([0, 1]))
    meter.add(torch.tensor(4.0), logits[2:], torch.tensor([1]))
    assert meter.loss == 2.0
    assert meter.accuracy == pytest.approx(200 / 3)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_spoilt() -> None:
    model = nn.Linear(3, 4)
    before = copy.deepcopy(model.state_dict())
    x, y = data(4)

    def run(x: torch.Tensor, factor: float) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train_epoch(model, [(x, y)], lambda *given: loss(*given) * factor, optimizer)

    with pytest.raises(DataError, match=r"the loss became nan in batch 1: lower base_lr"):
        run(x, torch.nan)
    x[2, 1] = torch.inf
    with pytest.raises(DataError, match=r"data: batch 1 .*, picture 3 of 4: the inputs .* not finite"):
        run(x, 1.0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_inputs_that_are_not_finite_are_told_from_a_rate_that_is_too_high_later_on_a_gpu() -> None:
    losses, model, nan = FiniteLosses(), nn.Identity(), torch.tensor(torch.nan)
    x = torch.zeros(3, 1, 2, 2)
    # The device `meta` is not the CPU either, so losses are noted; the numbers are put in place here.
    losses.add(torch.empty((), device="meta"), 1, model, x)
    assert [(batch, bool(finite.all())) for batch, _, finite in losses._losses] == [(1, True)]
    losses._losses = [(7, nan, torch.tensor([False, True, False]))]
    with pytest.raises(DataError, match=r"data: batch 7 of the training, pictures 1, 3 of 3: the inputs"):
        losses.check()
    losses._losses = [(7, nan, torch.tensor([True, True, True]))]
    with pytest.raises(DataError, match=r"the loss became nan in batch 7: lower base_lr"):
        losses.check()


def test_predict_uses_eval_mode_and_puts_the_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 4)).train()
    x, _ = data(1100)
    torch.testing.assert_close(predict(model, x), model[1](x))
    assert model.training


def test_an_epoch_without_batches_is_an_error() -> None:
    model = nn.Linear(3, 4)
    with pytest.raises(DataError, match="batches: there were none, so nothing was trained"):
        train_epoch(model, iter([]), loss, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_epoch_tells_what_its_loss_consists_of() -> None:
    teacher, model = nn.Linear(3, 4), nn.Linear(3, 4)
    x, y = data(10)
    weighted = DistillationLoss(teacher, weight=3.0, label_weight=0.5)
    with torch.no_grad():
        label = F.cross_entropy(model(x), y).item()
        distance = soft_cross_entropy(model(x), teacher(x)).item()
    # Two batches of different sizes, and no step between them that would change the model.
    batches = list(zip(x.split(7), y.split(7), strict=True))
    meter = train_epoch(model, batches, weighted, torch.optim.SGD(model.parameters(), lr=0.0), accumulate=2)
    assert meter.parts == {"label": pytest.approx(label), "distillation": pytest.approx(distance)}
    assert meter.loss == pytest.approx(0.5 * label + 3 * distance)
