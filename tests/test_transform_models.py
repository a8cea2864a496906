"""Models of all kinds give the outputs they gave, and can be binarized."""

import copy
from functools import cached_property
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.transform_check import Case, check
from tests.transforming import SMALL, Small, assert_same_outputs, config, freeze_batch_norm


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), 0.5, self.training)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.relu(self.conv(x)))
        return y


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.grouped = nn.Conv2d(8, 4, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.grouped(self.depthwise(x))
        return y


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        modes: list[Any] = ["zeros", "reflect", "replicate", "circular"]
        self.convs = nn.ModuleList(
            nn.Conv2d(3, 3, 3, padding=p, padding_mode=m) for m in modes for p in ((1, 0), "same")
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            y = conv(x)
            x = x + F.pad(y, (0, x.shape[3] - y.shape[3]))
        return x


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.kernels = nn.ParameterList([nn.Parameter(torch.randn(4, 4, 1, 1))])

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(input=x, weight=self.kernel, stride=2)
        return torch.conv2d(x, self.kernels[0], None, (1, 1))


class Standardized(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in nn.Conv2d)
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        std = self.weight.std((1, 2, 3), keepdim=True)
        y: Tensor = self._conv_forward(input, (self.weight - mean) / (std + 1e-5), self.bias)
        return y


class ManyInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(1, 4, 1)

    def forward(self, image: Tensor, mask: Tensor, *, scale: Tensor) -> dict[str, Any]:
        left, right = self.left(image), self.right(mask) * scale
        return {"both": [left, right], "sum": left + right}


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (FunctionalDropout(), (2, 3, 8, 8)),
        (Shared(), (2, 3, 8, 8)),
        (Depthwise(), (2, 4, 8, 8)),
        (Padded(), (2, 3, 8, 8)),
        (Functional(), (2, 3, 8, 8)),
        (nn.Sequential(Standardized(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 8, 8)),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8)),
    ],
    ids=["dropout", "shared", "grouped", "padding", "functional", "standardized", "unbatched"],
)
def test_outputs_are_those_of_the_original(model: nn.Module, shape: tuple[int, ...]) -> None:
    binarized = fxbin.transform(model, config(*shape))
    x = torch.randn(shape)
    assert_same_outputs(copy.deepcopy(model), binarized, x)
    binarized.train()
    binarized.binarization.enable(activations=True, weights=True)
    binarized(x).sum().backward()
    for site in binarized.binarization.sites.values():
        scale, threshold = site.activation.scale.grad, site.activation.threshold.grad
        assert scale is not None, site.name
        assert threshold is not None, site.name
        assert scale.isfinite().all(), site.name
    assert not torch.equal(binarized.eval()(x), model.eval()(x))


def test_train_and_eval_mode_run_their_own_graph() -> None:
    binarized, x = fxbin.transform(FunctionalDropout(), config(2, 3, 8, 8)), torch.rand(2, 3, 8, 8)
    assert len(binarized.traced_graphs) == 2
    assert (binarized.train()(x) == 0).any()
    assert (binarized.eval()(x) != 0).all()


def test_shared_conv_has_one_weight_binarizer_and_two_activation_binarizers() -> None:
    binarized = fxbin.transform(Shared(), config(2, 3, 8, 8))
    first, second = binarized.binarization.sites.values()
    assert first.weight is second.weight
    assert first.activation is not second.activation
    names = {name for name, _ in binarized.named_modules() if "binarizer" in name}
    assert names == {"conv.weight_binarizer", "conv.activation_binarizer", "conv.activation_binarizer_1"}


def test_grouped_convs_have_a_threshold_per_channel_of_the_input() -> None:
    sites = fxbin.transform(Depthwise(), config(2, 4, 8, 8)).binarization.sites.values()
    assert [site.activation.threshold.shape[1] for site in sites] == [4, 8]


def test_several_inputs_and_a_dict_as_output() -> None:
    model = ManyInputs()
    inputs = [
        {"sample_size": [2, 3, 4, 4]},
        {"sample_size": [2, 1, 4, 4]},
        {"sample_size": [1], "keyword": "scale"},
    ]
    binarized = fxbin.transform(model, {**config(), "input_info": inputs})
    image, mask, scale = torch.rand(3, 3, 5, 5), torch.rand(3, 1, 5, 5), torch.rand(1)
    expected, found = model(image, mask, scale=scale), binarized(image, mask, scale=scale)
    assert list(found) == ["both", "sum"]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_only_modules_are_binarized_if_asked() -> None:
    model = nn.Sequential(Standardized(3, 4, 3), nn.Conv2d(4, 4, 1))
    binarized = fxbin.transform(model, config(1, 3, 8, 8, call_sites="modules"))
    assert list(binarized.binarization.sites) == ["Sequential/NNCFConv2d[1]/conv2d_0"]


def test_hooks_of_a_conv_run() -> None:
    model = Small()
    model.conv2.register_forward_hook(lambda module, args, output: output + 1)
    binarized = fxbin.transform(model, SMALL)
    assert len(binarized.binarization.sites) == 2
    assert_same_outputs(model, binarized, torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_conv_with_a_hook_on_its_gradients_is_not_binarized(register: str) -> None:
    model = Small()
    seen: list[nn.Module] = []
    getattr(model.conv2, register)(lambda module, *_: seen.append(module))
    binarized = fxbin.transform(model, SMALL)
    first, second = fxbin.summary(binarized).sites
    assert first.binarized
    assert second.reason == "its module has hooks, which run around the module as a whole"
    binarized(torch.rand(2, 3, 8, 8)).sum().backward()
    assert seen == [binarized.conv2]


def test_conv_class_that_is_kept_whole_is_not_binarized() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), Standardized(3, 4, 3))
    binarized = fxbin.transform(model, config(2, 3, 8, 8), leaf_modules=(Standardized,))
    first, second = fxbin.summary(binarized).sites
    assert first.binarized
    assert second.reason == "it runs inside Standardized, which is kept whole (leaf_modules)"
    assert_same_outputs(model, binarized, torch.rand(2, 3, 8, 8))


def test_model_in_which_nothing_is_binarized_warns_why() -> None:
    with pytest.warns(UserWarning, match=r'no conv2d is binarized: in ignored_scopes: "\{re\}conv"'):
        binarized = fxbin.transform(Small(), config(2, 3, 8, 8, ignored_scopes=["{re}conv"]))
    assert not binarized.binarization.sites
    assert binarized.binarization.stage is fxbin.Stage.FULL_PRECISION
    binarized.binarization.enable(activations=True, weights=True)


def test_one_value_per_channel_is_no_obstacle_to_the_trace_in_train_mode() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)).eval()
    binarized = fxbin.transform(
        model, {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}
    )
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(binarized.train()(x), model.train()(x))


def test_batch_norm_frozen_after_the_transform_stays_frozen() -> None:
    model = Small()
    binarized, x = fxbin.transform(model, SMALL), torch.rand(4, 3, 8, 8)
    results = []
    for either in (model, binarized):
        either.train()
        freeze_batch_norm(either)
        torch.manual_seed(0)
        results.append(either(x))
    assert torch.equal(*results)
    assert torch.equal(binarized.get_buffer("bn.running_mean"), torch.zeros(8))


def test_tensors_that_a_model_computes_once_are_no_buffers() -> None:
    class Computes(Small):
        @cached_property
        def factor(self) -> Tensor:
            return torch.tensor(2.0)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x) * self.factor
            return y

    model, x = Computes().eval(), torch.rand(2, 3, 8, 8)
    expected = model(x)
    binarized = fxbin.transform(model, SMALL)
    assert not any("factor" in name for name in binarized.state_dict())
    assert torch.equal(binarized.eval()(x), expected)


class Refines(nn.Module):
    """Calls a layer twice, and learns nothing from the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = (x + self.conv(x)).detach()
        y: Tensor = x + self.conv(x)
        return y


def test_call_whose_result_is_detached_needs_no_gradient() -> None:
    assert not check(Case(Refines(), lambda batch: (torch.rand(batch, 3, 8, 8),))).problems


class CallsTwice(Small):
    """Does something of its own in front of its forward."""

    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x * 2)


class Merges(nn.Module):
    """Adds its second weight to the first for eval mode, as low-rank adapters do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.delta = nn.Parameter(torch.rand(4, 3, 3, 3))
        self.is_merged = False

    def train(self, mode: bool = True) -> "Merges":
        super().train(mode)
        if self.is_merged == mode:
            self.conv.weight.data += self.delta.data * (-1 if mode else 1)
            self.is_merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) if self.is_merged else F.conv2d(x, self.conv.weight + self.delta)
        return y


class HasScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), torch.jit.script(nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class LooksAtBatch(Small):
    """Does something else with a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2 if x.shape[0] > 1 else x
        return super().forward(x)


@pytest.mark.parametrize("kind", [CallsTwice, HasScript, LooksAtBatch])
def test_peculiar_model_is_what_it_was(kind: type[nn.Module]) -> None:
    assert not check(Case(kind(), lambda batch: (torch.rand(batch, 3, 8, 8),))).problems


def test_weights_that_a_model_merges_for_eval_mode_are_merged_once() -> None:
    model = Merges().eval()
    before = model.conv.weight.clone()
    binarized = fxbin.transform(model, config(2, 3, 8, 8))
    assert torch.equal(model.conv.weight, before)
    assert torch.equal(binarized.get_parameter("conv.weight"), before)
    assert_same_outputs(model, binarized, torch.rand(2, 3, 8, 8))


def test_a_graph_runs_where_convolutions_are_of_a_class_of_their_own() -> None:
    model = fxbin.transform(nn.Sequential(Standardized(3, 4, 3), nn.Conv2d(4, 4, 3)), config(1, 3, 8, 8))
    assert model.graph_for((torch.rand(1, 3, 8, 8),), {}) is not None
