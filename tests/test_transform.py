"""What `transform` promises about the model it gets and the model it returns."""

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import TraceError
from tests.transforming import SMALL, Small, assert_same_outputs, config
from tests.zoo import DATA

CONFIGS = Path(__file__).parents[1] / "configs"


# ResNet18 with the shipped config.


@pytest.fixture(scope="module")
def resnet18() -> tuple[nn.Module, BinarizedModule]:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = models.resnet18()
    return model, fxbin.transform(model, CONFIGS / "resnet18_imagenet_xnor.json5")


def test_resnet18_has_nncf_names(resnet18: tuple[nn.Module, BinarizedModule]) -> None:
    model, binarized = resnet18
    golden = [
        tuple(node)
        for node in json.loads(gzip.decompress((DATA / "names_torchvision.json.gz").read_bytes()))[
            "resnet18"
        ]["nodes"]
    ]
    assert fxbin.node_names(model, CONFIGS / "resnet18_imagenet_xnor.json5") == golden
    assert [name for name, _ in fxbin.node_names(binarized, {})] == [name for name, _ in golden]


def test_resnet18_has_16_binarized_convs_and_4_with_a_reason(
    resnet18: tuple[nn.Module, BinarizedModule],
) -> None:
    sites = fxbin.summary(resnet18[1]).sites
    assert sum(site.binarized for site in sites) == len(resnet18[1].binarization.sites) == 16
    kept = {site.owner: site.reason for site in sites if not site.binarized}
    owners = ["conv1", "layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"]
    assert kept == dict.fromkeys(owners, "in ignored_scopes")


@pytest.mark.parametrize("name", ["resnet18_imagenet_xnor", "resnet18_imagenet_dorefa"])
def test_resnet18_outputs_are_those_of_the_original(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    model = models.resnet18()
    binarized = fxbin.transform(model, CONFIGS / f"{name}.json5")
    assert_same_outputs(model, binarized, torch.randn(2, 3, 64, 64))


# The model that is handed in.


def snapshot(model: nn.Module) -> list[tuple[str, dict[str, Any]]]:
    """All that hangs on the modules, with tensors by identity, version and content."""
    return [
        (name, {key: _seen(value) for key, value in vars(m).items()}) for name, m in model.named_modules()
    ]


def _seen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return id(value), value._version, value.requires_grad, value.grad is None, value.sum().item()
    return {key: _seen(item) for key, item in value.items()} if isinstance(value, dict) else repr(value)


def test_untouched_model_is_untouched() -> None:
    model = Small()
    model.bn.eval()
    model.conv1.weight.requires_grad_(False)
    model.fc.register_forward_hook(lambda module, args, output: None)
    before, state, code = snapshot(model), torch.get_rng_state(), type(model).forward
    grad_enabled, threads = torch.is_grad_enabled(), torch.get_num_threads()
    binarized = fxbin.transform(model, SMALL)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert (type(model).forward, type(model)) == (code, Small)
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == (grad_enabled, threads)
    shared = {id(p) for p in model.parameters()} & {id(p) for p in binarized.parameters()}
    assert not shared


def test_training_the_result_leaves_the_original_alone() -> None:
    model = Small()
    before = copy.deepcopy(model.state_dict())
    binarized = fxbin.transform(model, SMALL)
    binarized.binarization.enable(activations=True, weights=True)
    binarized(torch.rand(4, 3, 8, 8)).sum().backward()
    torch.optim.SGD(binarized.parameters(), lr=1.0).step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_failed_transform_leaves_everything_as_it_was() -> None:
    model = Small().eval()
    before = snapshot(model)
    with pytest.raises(TraceError):
        fxbin.transform(model, config(2, 4, 8, 8))
    assert snapshot(model) == before
    assert isinstance(torch.relu(torch.rand(2)), Tensor)


# The model that comes back.


def test_layers_frozen_in_eval_mode_stay_frozen() -> None:
    model = Small()
    model.bn.eval()
    binarized = fxbin.transform(model, SMALL)
    assert binarized.training
    x = torch.rand(2, 3, 8, 8)
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(binarized(x), expected)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_outputs_are_those_of_the_original_at_every_batch_size(batch: int) -> None:
    model = Small()
    # Batch norm in train mode needs more than one value a channel: 8 x 8 pixels are.
    assert_same_outputs(model, fxbin.transform(model, SMALL), torch.randn(batch, 3, 8, 8))


def test_gradients_are_those_of_the_original() -> None:
    model = Small()
    binarized, x = fxbin.transform(model, SMALL), torch.randn(2, 3, 8, 8)
    for each in (model, binarized):
        torch.manual_seed(1)
        each(x).square().sum().backward()
    ours = dict(binarized.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(ours[name].grad, parameter.grad), name  # type: ignore[arg-type]


def test_parameters_and_attributes_stay_where_they_were() -> None:
    model = Small()
    binarized = fxbin.transform(model, SMALL)
    theirs = [name for name in binarized.state_dict() if "binarizer" not in name]
    assert theirs == list(model.state_dict())
    assert binarized.threshold == 0.25
    assert isinstance(binarized, Small)
    assert isinstance(binarized, torch.fx.GraphModule)
    assert binarized.training
    assert not fxbin.transform(model.eval(), SMALL).training


def test_deepcopy_is_independent() -> None:
    binarized = fxbin.transform(Small(), SMALL).eval()
    x = torch.randn(2, 3, 8, 8)
    copied = copy.deepcopy(binarized)
    copied.binarization.enable(activations=True, weights=True)
    assert copied.binarization.stage is fxbin.Stage.BINARIZED
    assert binarized.binarization.stage is fxbin.Stage.FULL_PRECISION
    assert not torch.equal(copied(x), binarized(x))
    copied.binarization.enable(activations=False, weights=False)
    assert torch.equal(copied(x), binarized(x))
    assert {id(m) for m in copied.modules()}.isdisjoint(id(m) for m in binarized.modules())
    site, *_ = copied.binarization.sites.values()
    assert site.weight in set(copied.modules())


def test_hooks_of_the_model_on_its_state_dict_stay() -> None:
    def add(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        state[f"{prefix}version"] = torch.ones(1)

    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.register_state_dict_post_hook(add)
    assert "version" in fxbin.transform(model, SMALL).state_dict()


def test_state_dict_goes_into_a_freshly_transformed_model() -> None:
    first = fxbin.transform(Small(), SMALL)
    first.binarization.enable(activations=True, weights=True)
    first(torch.rand(4, 3, 8, 8))  # initialises the scales
    second = fxbin.transform(Small(), SMALL)
    second.load_state_dict(first.state_dict())
    assert second.binarization.enabled == first.binarization.enabled
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(second.eval()(x), first.eval()(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_casting_casts_binarizers_too(dtype: torch.dtype) -> None:
    binarized = fxbin.transform(Small(), SMALL).to(dtype)
    binarized.binarization.enable(activations=True, weights=True)
    y = binarized(torch.rand(2, 3, 8, 8, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in binarized.parameters())


def test_model_in_double_precision_stays_in_it() -> None:
    model = Small().double()
    inputs = (torch.rand(2, 3, 8, 8, dtype=torch.float64),)
    assert_same_outputs(model, fxbin.transform(model, SMALL, inputs), *inputs)


def test_names_are_known_where_the_code_looks_at_content() -> None:
    class LooksAtContent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(x)
            return out * 2 if x.sum() > 0 else out

    names = fxbin.node_names(
        LooksAtContent(),
        {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}},
    )
    assert ("LooksAtContent/NNCFConv2d[conv]/conv2d_0", "conv2d") in names


def test_a_dict_named_meta_is_the_users_own() -> None:
    model = Small()
    model.meta = {"mean": [0.5]}  # type: ignore[assignment]
    binarized = fxbin.transform(model, SMALL)
    assert binarized.meta == {"mean": [0.5]}
    assert copy.deepcopy(binarized).meta == {"mean": [0.5]}


class NamedLikeOurs(nn.Module):
    """Has attributes of the names that fxbin gives to what a model uses and does not hold."""

    _traced_constant_2 = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self._traced_constant_0 = torch.full((1,), 2.0)
        self.register_buffer("_traced_constant_1", torch.full((1,), 5.0))
        self._traced_module_0 = nn.Conv2d(3, 3, 1)
        self.factors = {"a": torch.full((1,), 7.0), "b": torch.full((1,), 11.0), "c": torch.full((1,), 13.0)}
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.ReLU()(self._traced_module_0(self.conv(x)))
        given = self.get_buffer("_traced_constant_1")
        for factor in (*self.factors.values(), self._traced_constant_0, given):
            x = x * factor * torch.full((1,), 1.5)
        return F.dropout(x, 0.5, self.dropout.training) * self._traced_constant_2


def test_names_of_a_model_that_are_like_ours() -> None:
    model = NamedLikeOurs()
    binarized = fxbin.transform(model, config(2, 3, 4, 4))
    x = torch.rand(2, 3, 4, 4)
    assert_same_outputs(model, binarized, x)
    for net in (model, binarized):
        net.train().get_submodule("dropout").eval()  # one more graph
    assert torch.equal(model(x), binarized(x))
    assert binarized._traced_constant_2 == 3
