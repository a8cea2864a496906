"""`fxbin.deploy`: a deployed model computes what the model computes, in 1 bit, and needs nothing of it."""

import copy
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import WeightBinarizer
from fxbin.deployment import DeployedModule
from fxbin.engine.library import Engine
from fxbin.errors import EngineError, ExportError, TransformError
from tests.binarizing import as_if_trained, binarize
from tests.one_conv import CALL_SITES, OneConv
from tests.transforming import Small, config

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def assert_computes_the_same(
    model: Callable[..., Tensor], deployed: Callable[..., Tensor], *inputs: Tensor
) -> None:
    """Within 1e-5 of the output's size."""
    with torch.no_grad():
        found, expected = deployed(*inputs), model(*inputs)
    assert found.dtype == expected.dtype
    error = (found.double() - expected.double()).abs().max()
    assert error <= 1e-5 * expected.double().abs().max()


def small() -> BinarizedModule:
    """`Small` in its last stage, in eval mode."""
    return binarize(Small(), X)


def test_a_model_computes_the_same_in_one_bit(built: Engine) -> None:
    model = small()
    deployed = fxbin.deploy(model)
    assert isinstance(deployed, DeployedModule)
    assert not isinstance(deployed, BinarizedModule | Small)
    assert [(site.place, site.reason) for site in deployed.deployed_sites] == [
        ("packed.conv1", ""),
        ("packed.conv2", ""),
    ]
    assert list(deployed.packed_convolutions) == list(model.binarization.sites)
    for shape in ((2, 3, 8, 8), (1, 3, 8, 8), (5, 3, 12, 9), (0, 3, 8, 8)):
        x = torch.randn(shape)
        if shape[0]:
            assert_computes_the_same(model, deployed, x)
        else:
            assert deployed(x).shape == (0, 5)


def test_the_model_is_left_as_it_is(built: Engine) -> None:
    model = small().train()
    state, code = copy.deepcopy(model.state_dict()), model.code
    fxbin.deploy(model)
    assert model.training
    assert model.code == code
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def channels_last(model: DeployedModule) -> DeployedModule:
    """`model` with its weights in that layout."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    return model


class Normalized(nn.Module):
    """A convolution, a BatchNorm and an activation."""

    def __init__(self, activation: nn.Module, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, bias=options.pop("bias", True))
        self.bn, self.act = nn.BatchNorm2d(8, **options), activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


FUSED = (
    *(nn.ReLU(), nn.ReLU(inplace=True), nn.PReLU(), nn.PReLU(8, init=-0.5)),
    *(nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(), nn.Hardtanh(inplace=True)),
)
"""Activations that become part of a packed convolution."""


def calls(deployed: DeployedModule) -> list[str]:
    """What the graph calls, in order."""
    return [str(node.target) for node in deployed.graph.nodes if node.op.startswith("call")]


@pytest.mark.parametrize("activation", FUSED, ids=str)
@pytest.mark.parametrize("options", [{}, {"affine": False, "eps": 0.1}, {"bias": False}], ids=str)
def test_batch_norm_and_activation_are_fused(
    built: Engine, activation: nn.Module, options: dict[str, Any]
) -> None:
    x = torch.rand(2, 6, 9, 9)
    with torch.no_grad():
        model = fxbin.transform(Normalized(activation, **options), config(*x.shape))
        for name, values in model.named_buffers():
            if "running" in name:
                values.copy_(torch.rand_like(values) + 0.5)
        model.binarization.enable()
        deployed = fxbin.deploy(start(model, x))
    assert calls(deployed) == ["packed.conv"]
    assert_computes_the_same(model, deployed, x)


def start(model: BinarizedModule, x: Tensor) -> BinarizedModule:
    """`model` in eval mode, with the scales of a batch."""
    model.train()(x)
    model.eval()
    return model


class SeenTwice(Normalized):
    """What is between the layers is read elsewhere, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.bn(y)
        total: Tensor = z + y + self.act(z)
        return total


class BatchStatistics(Normalized):
    """A BatchNorm that normalizes by the batch in eval mode, too."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), track_running_stats=False)


class ActivatedFirst(Normalized):
    """An activation that has nothing in front of it, then a BatchNorm."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(F.relu(self.conv(x)))
        return y


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (SeenTwice(nn.ReLU()), ["packed.conv", "bn", "act"]),
        (BatchStatistics(), ["packed.conv", "bn", "act"]),
        (Normalized(nn.Hardtanh(-2, 1)), ["packed.conv", "act"]),
        (Normalized(nn.SiLU()), ["packed.conv", "act"]),
        (ActivatedFirst(nn.ReLU()), ["packed.conv", "bn"]),
    ],
)
def test_what_cannot_be_fused_stays(built: Engine, model: nn.Module, expected: list[str]) -> None:
    x = torch.rand(2, 6, 9, 9)
    binarized = fxbin.transform(model, config(*x.shape))
    assert isinstance(binarized, BinarizedModule)
    binarized.binarization.enable()
    deployed = fxbin.deploy(start(binarized, x))
    assert [call for call in calls(deployed) if "built-in" not in call] == expected
    assert_computes_the_same(binarized, deployed, x)


def add(x: Tensor, y: Tensor) -> Tensor:
    """The output, plus the input."""
    return y + x


def add_first(x: Tensor, y: Tensor) -> Tensor:
    """The input, plus the output."""
    return torch.add(x, y)


def add_in_place(x: Tensor, y: Tensor) -> Tensor:
    """Into the output."""
    y += x
    return F.relu(y, inplace=True)


def add_later(x: Tensor, y: Tensor) -> Tensor:
    """What is computed after the convolution."""
    return (y + F.avg_pool2d(x, 3, 1, 1)).relu()


def add_batch(x: Tensor, y: Tensor) -> Tensor:
    """What is the same for all pictures."""
    return y + x.mean(0, keepdim=True)


def add_into_input(x: Tensor, y: Tensor) -> Tensor:
    """Into the input."""
    z = x * 2
    z += y
    return z + x


def change_input(x: Tensor, y: Tensor) -> Tensor:
    """The convolution must not see what is written into its input after it."""
    z = F.relu(x - 0.5, True) + x.mul_(0.5)
    return y + z


def scaled(x: Tensor, y: Tensor) -> Tensor:
    """Not a plain sum."""
    return torch.add(y, x, alpha=2)


def twice(x: Tensor, y: Tensor) -> Tensor:
    """The output is read again."""
    return (y + x) * y


def to_itself(_x: Tensor, y: Tensor) -> Tensor:
    """The output, doubled."""
    return y + y


def broadcast(x: Tensor, y: Tensor) -> Tensor:
    """A mean of each channel."""
    return y + x.mean((2, 3), keepdim=True)


class Residual(nn.Module):
    """A convolution, and what is added to it."""

    def __init__(self, around: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.around = nn.Conv2d(6, 6, 3, padding=1), around

    def forward(self, x: Tensor) -> Tensor:
        return self.around(x, self.conv(x))


@pytest.mark.parametrize("around", [add, add_first, add_in_place, add_later, add_batch])
def test_sums_are_fused(built: Engine, around: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = torch.rand(1, 6, 9, 9)
    model = binarize(Residual(around), x)
    deployed = fxbin.deploy(model)
    assert calls(deployed)[-1] == "packed.conv"
    for batch in (1, 3):
        assert_computes_the_same(model, deployed, torch.rand(batch, 6, 9, 9))


@pytest.mark.parametrize("around", [add_into_input, change_input, scaled, twice, to_itself, broadcast])
def test_what_is_no_plain_sum_stays(built: Engine, around: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = torch.rand(1, 6, 9, 9)
    model = binarize(Residual(around), x)
    deployed = fxbin.deploy(model)
    (packed,) = [node for node in deployed.graph.nodes if str(node.target) == "packed.conv"]
    assert len(packed.args) == 1
    assert_computes_the_same(model, lambda x: deployed(x.clone()), x)


class TwoBranches(nn.Module):
    """Two convolutions that are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x) + self.second(x)
        return y.relu()


def test_the_later_of_two_convolutions_takes_the_other(built: Engine) -> None:
    x = torch.rand(2, 6, 9, 9)
    model = binarize(TwoBranches(), x)
    deployed = fxbin.deploy(model)
    assert calls(deployed) == ["packed.first", "packed.second"]
    assert_computes_the_same(model, deployed, x)


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
@pytest.mark.parametrize(
    ("sizes", "options"),
    CALL_SITES,
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_every_kind_of_call_site(
    built: Engine, sizes: tuple[Any, ...], options: dict[str, Any], mode: str
) -> None:
    x = torch.rand(2, sizes[0], 9, 10)
    model = binarize(OneConv(*sizes, **options), x, mode)
    deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites] == [""]
    assert_computes_the_same(model, deployed, x)
    assert_computes_the_same(model, deployed, x.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(built: Engine, dtype: torch.dtype) -> None:
    x = torch.rand(2, 8, 9, 9, dtype=dtype)
    model = binarize(OneConv(8, 16, 3).to(dtype), x)
    deployed = fxbin.deploy(model, (x,))
    with torch.no_grad():
        expected, found = model(x), deployed(x)
    assert found.dtype == dtype
    # Of the dtype itself, as PyTorch rounds what it binarizes to it, too.
    tolerance = max(1e-5, 2 * torch.finfo(dtype).eps)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_a_picture_without_a_batch(built: Engine) -> None:
    x = torch.rand(8, 9, 9)
    model = binarize(OneConv(8, 16, 3), x)
    assert_computes_the_same(model, fxbin.deploy(model), x)


class Twice(nn.Module):
    """One layer that is called twice, on inputs of its own each time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x).relu() + x)
        return y


def test_a_layer_that_is_called_twice_has_levels_for_each_call(built: Engine) -> None:
    x = torch.rand(2, 6, 9, 9)
    model = binarize(Twice(), x)
    deployed = fxbin.deploy(model)
    assert [site.place for site in deployed.deployed_sites] == ["packed.conv", "packed.conv_1"]
    assert_computes_the_same(model, deployed, x)


def test_only_bits_are_kept_of_packed_weights(built: Engine) -> None:
    x = torch.rand(1, 64, 4, 4)
    model = binarize(OneConv(64, 128, 3, bias=False), x)
    deployed = fxbin.deploy(model)
    deployed(x)
    weight = 64 * 128 * 9
    state = deployed.state_dict()
    assert list(state) == [
        f"packed.conv.{name}" for name in ("thresholds", "x_levels", "weight_bits", "w_levels")
    ]
    assert state["packed.conv.weight_bits"].nbytes == weight // 8
    (packed,) = deployed.packed_convolutions.values()
    assert packed.held_bytes < 4 * weight / 8
    assert list(deployed.parameters()) == []
    assert repr(packed) == "PackedConv2d(64, 128, kernel_size=(3, 3), stride=(1, 1), activation='relu')"


def test_scales_that_saw_no_batch_are_a_warning(built: Engine) -> None:
    config = {"input_info": {"sample_size": list(X.shape)}, "compression": {"algorithm": "binarization"}}
    model = fxbin.transform(Small(), config)
    model.binarization.enable(activations=True, weights=True)
    with pytest.warns(UserWarning, match="2 of 2 activation scales have never seen a training batch"):
        fxbin.deploy(model)


def test_stages_are_deployed_as_they_are(built: Engine) -> None:
    model = small()
    first, second = model.binarization.sites
    model.binarization.enable(weights=False, sites=[first])
    model.binarization.enable(activations=False, sites=[second])
    with pytest.warns(
        UserWarning, match="2 of 2 selected call sites are not fully binarized .* are deployed so"
    ):
        deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites] == [
        "its weights are not binarized at this stage",
        "its activations are not binarized at this stage",
    ]
    assert deployed.packed_convolutions == {}
    assert_computes_the_same(model, deployed, X)
    assert not [name for name, _ in deployed.named_modules() if "binarizer" in name]


def test_scales_inside_a_filter_stay_in_float(built: Engine) -> None:
    model = binarize(OneConv(8, 16, 3), torch.rand(1, 8, 9, 9), weight_scale_axis="input")
    deployed = fxbin.deploy(model)
    assert [site.reason for site in deployed.deployed_sites] == ["its weight scale varies inside a filter"]
    assert_computes_the_same(model, deployed, torch.rand(2, 8, 9, 9))


class HalfSigns(WeightBinarizer):
    """Not the levels that fxbin knows."""

    def scale(self, w: Tensor) -> Tensor:
        return w.abs().mean()

    def binarize(self, x: Tensor) -> Tensor:
        return x.sign() / 2


def test_binarizers_of_ones_own_stay(built: Engine) -> None:
    model = binarize(OneConv(8, 16, 3), torch.rand(1, 8, 9, 9))
    site = next(iter(model.binarization.sites.values()))
    (place,) = [name for name, module in model.named_modules() if module is site.weight]
    own = HalfSigns()
    own.enable()
    model.set_submodule(place, own)
    deployed = fxbin.deploy(model)
    assert [entry.reason for entry in deployed.deployed_sites] == [
        "HalfSigns is not a binarizer whose levels fxbin knows: it overrides binarize, but not levels"
    ]
    assert_computes_the_same(model, deployed, torch.rand(2, 8, 9, 9))


class Shared(nn.Module):
    """The same input for two convolutions, and a weight that is used elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Conv2d(6, 6, 3)
        self.other = nn.Conv2d(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.packed(x) + self.other(x)
        return y + self.packed.weight.mean()


def test_what_else_reads_a_weight_keeps_it(built: Engine) -> None:
    x = torch.rand(2, 6, 9, 9)
    model = binarize(Shared(), x)
    deployed = fxbin.deploy(model)
    assert [site.place for site in deployed.deployed_sites] == ["packed_.packed", "packed_.other"]
    assert_computes_the_same(model, deployed, x)


def test_a_state_dict_goes_into_another_deployed_model(built: Engine) -> None:
    model, other = small(), small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
    deployed, changed = fxbin.deploy(model), fxbin.deploy(other)
    changed(X)
    with torch.inference_mode():  # in which PyTorch does not count writes
        changed.load_state_dict(deployed.state_dict())
    assert torch.equal(changed(X), deployed(X))


def test_channels_last_and_casts_of_the_whole_model(built: Engine) -> None:
    model = small()
    deployed = channels_last(fxbin.deploy(model))
    assert_computes_the_same(model, deployed, X.contiguous(memory_format=torch.channels_last))
    half = fxbin.deploy(model).bfloat16()
    assert half(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9, when it loads
def test_a_saved_program_needs_no_code_of_the_model(built: Engine, tmp_path: Path) -> None:
    deployed, path = fxbin.deploy(small()), tmp_path / "model.pt2"
    shapes = ({0: torch.export.Dim("batch", max=8)},)
    torch.export.save(torch.export.export(deployed, (X,), dynamic_shapes=shapes), path)
    loaded = torch.export.load(path).module()
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(loaded(x), deployed(x))
    with zipfile.ZipFile(path) as archive:
        (program,) = [archive.read(name) for name in archive.namelist() if name.endswith("model.json")]
    assert b"fxbin.binary_conv2d" in program
    assert Small.__module__.encode() not in program


def double_output(_module: nn.Module, _args: Any, y: Tensor) -> Tensor:
    """A forward hook."""
    return 2 * y


def test_pickled_and_copied_models_are_whole(built: Engine) -> None:
    deployed = fxbin.deploy(small())
    deployed.register_forward_hook(double_output)
    file = io.BytesIO()
    torch.save(deployed, file)
    file.seek(0)
    restored = torch.load(file, weights_only=False)
    for other in (restored, copy.deepcopy(deployed), copy.copy(deployed), copy.deepcopy(restored)):
        assert isinstance(other, DeployedModule)
        assert other.deployed_sites == deployed.deployed_sites
        assert list(other.packed_convolutions) == list(deployed.packed_convolutions)
        assert type(other).__name__ == "Small"
        assert not other.training
        assert torch.equal(other(X), deployed(X))


def test_hooks_are_called(built: Engine) -> None:
    model = small()
    plain = model(X)
    model.register_forward_hook(double_output)
    model.register_forward_pre_hook(lambda _module, args: (-args[0],))
    (norm, *_) = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    norm.register_forward_hook(double_output)
    assert not torch.allclose(model(X), plain)
    assert_computes_the_same(model, fxbin.deploy(model), X)


def test_it_stays_in_eval_mode(built: Engine) -> None:
    deployed = fxbin.deploy(small())
    expected = deployed(X)
    around = nn.Sequential(deployed, nn.Dropout()).train()
    assert around[1].training
    assert not any(module.training for module in deployed.modules())
    assert torch.equal(deployed(X), expected)


def test_torchscript_can_trace_it_but_not_compile_it(built: Engine) -> None:
    x = torch.rand(1, 8, 5, 5)
    deployed = fxbin.deploy(binarize(OneConv(8, 4, 3), x))
    with pytest.raises(
        EngineError, match=r"torch\.jit\.script: .*fxbin\.export_program, or use torch\.export or"
    ):
        torch.jit.script(nn.Sequential(deployed))


def test_compiled(built: Engine) -> None:
    deployed = fxbin.deploy(small())
    compiled = torch.compile(deployed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), deployed(X))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_backward_is_an_error(built: Engine, backend: str) -> None:
    deployed = fxbin.deploy(small())
    front = nn.Sequential(nn.Conv2d(3, 3, 1), deployed)
    y = torch.compile(front, backend=backend, fullgraph=True)(X)
    assert torch.equal(y, deployed(front[0](X)))
    with pytest.raises(
        EngineError, match=r"backward: a layer in 1 bit or int8 has no gradient\. Train the model"
    ):
        y.sum().backward()
    packed, _ = copy.deepcopy([*deployed.packed_convolutions.values()])
    packed.output = "floats"
    residual = torch.randn(2, 8, 8, 8, requires_grad=True)
    with pytest.raises(EngineError, match="backward: "):
        packed(X, residual).sum().backward()
    head = nn.Linear(y.shape[1], 1)
    head(deployed(X)).sum().backward()
    assert head.weight.grad is not None


class Gated(nn.Module):
    """A sum of one pixel and a picture, which for pictures of one pixel is like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        self.activation = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(x + self.conv(F.adaptive_avg_pool2d(x, 1)))
        return y


def test_a_sum_takes_other_shapes_than_at_deployment(built: Engine) -> None:
    model = binarize(Gated(), torch.randn(1, 8, 1, 1))
    deployed = fxbin.deploy(model)
    assert [node.target for node in deployed.graph.find_nodes(op="call_module")] == ["packed.conv"]
    for shape in ((1, 8, 1, 1), (2, 8, 1, 1), (2, 8, 3, 5)):
        assert_computes_the_same(model, deployed, torch.randn(shape))


class Mixed(nn.Module):
    """A sum of a convolution in 1 bit and one in float."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        self.shortcut = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (self.conv(x) + self.shortcut(x)).relu()
        return y


def test_a_sum_takes_the_dtypes_of_autocast(built: Engine) -> None:
    x = torch.rand(2, 8, 5, 5)
    config = {
        "input_info": {"sample_size": list(x.shape)},
        "compression": {
            "algorithm": "binarization",
            "ignored_scopes": ["Mixed/NNCFConv2d[shortcut]/conv2d_0"],
        },
    }
    model = as_if_trained(fxbin.transform(Mixed(), config))
    deployed = fxbin.deploy(model)
    assert torch.add not in {node.target for node in deployed.graph.nodes}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = model(x), deployed(x)
    assert (found - expected).abs().max() <= 2 * torch.finfo(torch.bfloat16).eps * expected.abs().max()


def test_wrappers_are_looked_into(built: Engine) -> None:
    model = small()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert_computes_the_same(model, fxbin.deploy(averaged), X)


def test_what_was_not_transformed_is_an_error() -> None:
    with pytest.raises(
        TransformError, match=r"fxbin\.deploy: expected a model that fxbin\.transform returned"
    ):
        fxbin.deploy(nn.Conv2d(3, 3, 1))


def test_inputs_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ExportError, match="example_inputs"):
        fxbin.deploy(small(), (torch.zeros(2, 4, 8, 8),))


def test_a_resnet_holds_an_eighth_of_its_float_weights(built: Engine) -> None:
    torchvision = pytest.importorskip("torchvision")
    network = torchvision.models.resnet18()
    ignored = [r"{re}^[^/]*/NNCFConv2d\[conv1\]/", r"{re}\[downsample\]"]
    settings = config(1, 3, 64, 64, ignored_scopes=ignored, params={"activation_threshold_init": "mse"})
    model = fxbin.transform(network, settings)
    model.binarization.enable(activations=True, weights=True)
    model(torch.rand(2, 3, 64, 64))  # initializes scales, and thresholds so that about 30 % fires
    deployed = channels_last(fxbin.deploy(model.eval()))
    with torch.no_grad():
        deployed(torch.rand(1, 3, 224, 224).contiguous(memory_format=torch.channels_last))
    forms = sum(packed.form_bytes for packed in deployed.packed_convolutions.values())
    tensors = sum(each.nbytes for each in (*deployed.parameters(), *deployed.buffers()))
    assert deployed.held_bytes == tensors + forms
    assert deployed.held_bytes <= sum(weight.nbytes for weight in network.parameters()) / 8


def test_each_layer_of_a_resnet(built: Engine) -> None:
    torchvision = pytest.importorskip("torchvision")
    ignored = [r"{re}^[^/]*/NNCFConv2d\[conv1\]/", r"{re}\[downsample\]"]
    settings = config(1, 3, 64, 64, ignored_scopes=ignored)
    model = as_if_trained(fxbin.transform(torchvision.models.resnet18(num_classes=10), settings))
    deployed = channels_last(fxbin.deploy(model))
    x = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    # One by one: a value next to a threshold of a later layer may fall on its other side.
    seen: dict[str, list[Tensor]] = {}
    for name, packed in deployed.packed_convolutions.items():

        def note(_: nn.Module, args: Any, y: Any, name: str = name) -> None:
            floats = y[0] if isinstance(y, tuple) else y  # in place of bits, a hook sees the floats twice
            seen[name] = [value.clone() for value in (floats, *args)]

        packed.register_forward_hook(note)
    deployed(x)
    assert [len(values) for values in seen.values()] == 8 * [2, 3]
    paths = [
        path for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d) and "layer" in path
    ]
    paths = [path for path in paths if "downsample" not in path]
    for site, path in zip(model.binarization.sites.values(), paths, strict=True):
        layer: Any = model.get_submodule(path)
        norm = copy.deepcopy(model.get_submodule(path.replace("conv", "bn"))).double()
        found, given, *residual = seen[site.name]
        a, w = site.activation(given).double(), site.weight(layer.weight).double()
        with torch.no_grad():
            expected = norm(F.conv2d(a, w, None, layer.stride, layer.padding))
        expected = sum(residual, expected).relu()
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
