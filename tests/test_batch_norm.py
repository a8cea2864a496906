import pytest
import torch
from torch import nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import DataError
from fxbin.staged.batch_norm import reestimate_batch_norm


def transformed() -> BinarizedModule:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 4, 3)
    )
    config = {"input_info": {"sample_size": [1, 2, 8, 8]}, "compression": {"algorithm": "binarization"}}
    return fxbin.transform(model, config)


def batch_norm(model: nn.Module) -> nn.BatchNorm2d:
    return next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_statistics_are_the_means_over_the_batches() -> None:
    model = transformed()
    layer = batch_norm(model)
    seen = []
    layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    assert reestimate_batch_norm(model, [torch.randn(5, 2, 8, 8) for _ in range(3)]) == 3
    means = torch.stack([x.mean((0, 2, 3)) for x in seen])
    variances = torch.stack([x.var((0, 2, 3)) for x in seen])  # unbiased, as torch keeps it
    torch.testing.assert_close(layer.running_mean, means.mean(0))
    torch.testing.assert_close(layer.running_var, variances.mean(0))


def test_nothing_else_changes() -> None:
    model = transformed().train()
    model.binarization.enable(activations=True, weights=True)
    model.get_submodule("3").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    reestimate_batch_norm(model, [torch.ones(4, 2, 8, 8)])
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rpartition(".")[2] for name in changed} == {
        "running_mean", "running_var", "num_batches_tracked"
    }  # fmt: skip
    assert modes == [module.training for module in model.modules()]
    assert batch_norm(model).momentum == 0.1
    assert torch.equal(random, torch.get_rng_state())


def test_no_batches_are_an_error_and_leave_the_statistics_alone() -> None:
    model = transformed()
    layer = batch_norm(model)
    assert layer.running_mean is not None
    layer.running_mean.fill_(3.0)
    with pytest.raises(DataError, match="batches: there were none to take statistics from"):
        reestimate_batch_norm(model, [])
    assert layer.running_mean.tolist() == [3.0, 3.0, 3.0]


def test_evaluation_after_a_switch_is_that_of_the_batch_statistics() -> None:
    model = transformed()
    x = torch.randn(16, 2, 8, 8)
    model.binarization.enable(weights=True)
    reestimate_batch_norm(model, [x])
    found: list[torch.Tensor] = []
    batch_norm(model).register_forward_hook(lambda _layer, _inputs, output: found.append(output))
    with torch.no_grad():
        model.eval()(x)
    torch.testing.assert_close(found[0].mean((0, 2, 3)), torch.zeros(3), atol=0.2, rtol=0)
    torch.testing.assert_close(found[0].std((0, 2, 3)), torch.ones(3), atol=0.05, rtol=0)
