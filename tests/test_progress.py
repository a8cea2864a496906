"""The progress that estimators and transformations follow, as the schedule sets it."""

from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.binarizers import registry
from fxbin.errors import ConfigError

PARTS = {"activations": {"levels": "sign", "estimator": "ede"}, "weights": {"latent": "clamp_quantiles"}}
STAGES = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 3}


def schedule(**params: Any) -> fxbin.StagedSchedule:
    section = {"algorithm": "binarization", "params": STAGES | params, **PARTS}
    config = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": section}
    model = fxbin.transform(nn.Conv2d(3, 4, 3), config)
    return fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))


def progress(of: fxbin.StagedSchedule) -> tuple[float, float]:
    (site,) = of._state.sites.values()
    return tuple(b.get_buffer("progress").item() for b in (site.activation, site.weight))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:activations were binarized for a whole epoch")
@pytest.mark.filterwarnings("ignore:optimizer. the last epoch changed none")
def test_it_grows_from_the_start_of_each_kind_to_the_end_of_the_decay() -> None:
    staged = schedule(lr_poly_drop_start_epoch=3, lr_poly_drop_duration_epochs=2)
    found = []
    for epoch in range(7):
        staged.start_epoch(epoch)
        found.append(progress(staged))
        staged.step(0.5)
        found.append(progress(staged))
    assert [a for a, _ in found] == pytest.approx([0, 0, 0, *(i / 8 for i in range(1, 9)), 1, 1, 1])
    assert [w for _, w in found] == pytest.approx([*[0] * 6, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_it_may_have_its_own_length_and_a_resumed_schedule_has_it_again() -> None:
    staged = schedule(progress_epochs=10)
    staged.start_epoch(4)
    assert progress(staged) == pytest.approx((0.3, 0.1))
    resumed = schedule(progress_epochs=10)
    resumed.load_state_dict(staged.state_dict())
    assert progress(resumed) == progress(staged)


def test_without_an_end_it_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        schedule()
    assert str(error.value).startswith(
        "compression.params.progress_epochs: is missing, expected the number of epochs over which this "
        'changes: compression.activations.estimator "ede", compression.weights.latent "clamp_quantiles". Add '
    )


def test_a_binarizer_of_ones_own_that_follows_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))

    @fxbin.register_weight_binarizer("following")
    def following(_shape: Any, _params: Any) -> fxbin.WeightBinarizer:
        binarizer = fxbin.XNORWeightBinarizer()
        binarizer.follow_progress()
        return binarizer

    section = {"algorithm": "binarization", "mode": "following"}
    model = fxbin.transform(
        nn.Sequential(nn.Conv2d(3, 4, 3)),
        {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": section},
    )
    with pytest.raises(ConfigError, match=r"progress_epochs: is missing, .*: the XNORWeightBinarizer of 0\."):
        fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_nncf_has_no_such_parts() -> None:
    model = schedule(progress_epochs=1)._state
    assert model.config.binarization.described == ("xnor; activations: sign, ede; weights: clamp_quantiles")
