"""`fxbin.deploy` with samples to calibrate with: what is not binarized becomes int8."""

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.deployment import DeployedModule
from fxbin.deployment.int8_layers import Int8Conv2d, Int8Linear
from fxbin.engine.library import Engine
from fxbin.errors import EngineError, ExportError
from tests.binarizing import as_if_trained
from tests.transforming import config

X = torch.randn(4, 3, 12, 10, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A stem, a binarized convolution beside a shortcut, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 5, 2, padding="valid"), nn.BatchNorm2d(16)
        self.conv, self.shortcut = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1, bias=False)
        self.fc = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        z: Tensor = self.fc((self.conv(x) + self.shortcut(x)).mean((2, 3)))
        return z


def in_float(model: nn.Module, x: Tensor = X, ignored: str = r"{re}stem|shortcut|rest") -> BinarizedModule:
    """`model` in its last stage, but for what is ignored."""
    return as_if_trained(fxbin.transform(model, config(*x.shape, ignored_scopes=[ignored]), (x,)))


def fake_quantized(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """What `layer` computes where inputs have 256 levels, and the weights of a filter 255."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    levels = torch.fake_quantize_per_tensor_affine(x, scale, (-low / scale).round().int(), 0, 255)
    most = layer.weight.flatten(1).abs().amax(1) / 127
    w = torch.fake_quantize_per_channel_affine(layer.weight, most, torch.zeros(len(most)).int(), 0, -127, 127)
    if isinstance(layer, nn.Linear):
        return F.linear(levels, w, layer.bias)
    return F.conv2d(levels, w, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


class Tied(Net):
    """A layer and a convolution whose weights other code reads."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.stem(x)).relu()
        y = self.conv(y) + self.shortcut(y) * (1 + self.shortcut.weight.abs().mean())
        z: Tensor = self.fc(y.mean((2, 3))) @ self.fc.weight
        return z


def test_a_layer_whose_weight_other_code_reads_stays_in_float(built: Engine) -> None:
    model = in_float(Tied())
    deployed = fxbin.deploy(model, calibration=[X])
    reasons = {site.name: site.reason for site in deployed.int8_sites}
    assert reasons == {"stem": "", **dict.fromkeys(("shortcut", "fc"), "other code reads its weight or bias")}
    assert (deployed(X) - model(X)).abs().max() < 0.05 * model(X).abs().max()


def test_weights_that_onednn_has_arranged_are_counted(built: Engine) -> None:
    deployed = fxbin.deploy(in_float(Net()), calibration=[X])
    deployed(X)
    layers = [layer for layer in deployed.modules() if isinstance(layer, Int8Conv2d)]
    on_bytes = int(torch_private.has_vnni())
    assert all(layer.form_bytes >= on_bytes * layer.weight.nbytes for layer in layers)
    forms = sum(layer.form_bytes for layer in layers)
    forms += sum(packed.form_bytes for packed in deployed.packed_convolutions.values())
    tensors = sum(each.nbytes for each in (*deployed.parameters(), *deployed.buffers()))
    assert deployed.held_bytes == tensors + forms


def test_layers_that_are_not_binarized_become_int8(built: Engine) -> None:
    model = in_float(Net())
    plain, deployed = fxbin.deploy(model), fxbin.deploy(model, calibration=[X])
    assert [(site.name, site.reason) for site in deployed.int8_sites] == [
        ("stem", ""), ("shortcut", ""), ("fc", ""),
    ]  # fmt: skip
    assert plain.int8_sites == ()
    assert deployed.deployed_sites == plain.deployed_sites
    assert type(deployed.get_submodule("stem")) is Int8Conv2d
    assert type(deployed.get_submodule("fc")) is Int8Linear
    assert not list(deployed.parameters())
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in ("stem", "shortcut", "fc"):
        layer = deployed.get_submodule(name)
        layer.register_forward_hook(lambda _, x, y, name=name: seen.update({name: (x[0], y)}))
    with torch.no_grad():
        y, expected = deployed(X), plain(X)
        assert (y - expected).abs().max() < 0.1 * expected.abs().max()
        for name, (x, found) in seen.items():
            wanted = fake_quantized(plain.get_submodule(name), x)  # type: ignore[arg-type]
            wanted = wanted.relu() if name == "stem" else wanted
            # Beside the calibrated range, only values halfway between two levels may differ.
            assert (found - wanted).abs().max() < 0.02 * wanted.abs().max(), name


class Pooled(Net):
    """A stem with a pooling and, on request, ReLU around it."""

    def __init__(self, order: str, **options: Any) -> None:
        super().__init__()
        self.order, self.pool, self.relu = order, nn.MaxPool2d(**options), nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in self.order.split():
            x = getattr(self, name)(x)
        y: Tensor = self.conv(x)
        return y


@pytest.mark.parametrize("has_vnni", [True, False])
@pytest.mark.parametrize(
    ("order", "options", "left"),
    [
        ("bn relu pool", {"kernel_size": 3, "stride": 2, "padding": 1}, []),
        ("relu pool", {"kernel_size": (2, 3)}, []),
        ("pool relu", {"kernel_size": 2, "stride": 1, "padding": 1}, []),
        ("bn pool", {"kernel_size": 2}, []),
        ("relu", {"kernel_size": 2}, []),
        ("relu pool", {"kernel_size": 3, "stride": 1}, ["pool"]),
        ("relu pool", {"kernel_size": 2, "ceil_mode": True}, ["pool", "relu"]),
        ("relu pool", {"kernel_size": 2, "dilation": 2}, ["pool", "relu"]),
        ("pool bn relu", {"kernel_size": 2}, ["bn", "relu"]),
    ],
)
def test_pooling_and_relu_become_part_of_a_layer(
    built: Engine,
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    options: dict[str, Any],
    left: list[str],
    has_vnni: bool,
) -> None:
    if not has_vnni:
        monkeypatch.setattr(torch_private, "has_vnni", lambda: False)
    model = in_float(Pooled(order, **options))
    plain, deployed = fxbin.deploy(model), fxbin.deploy(model, calibration=[X])
    calls = [str(node.target) for node in deployed.graph.find_nodes(op="call_module", sort=True)]
    assert calls == ["stem", *left, "packed.conv"]
    seen = {}
    for name, each in (("plain", plain), ("int8", deployed)):
        packed = each.get_submodule("packed.conv")
        packed.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
        each(X)
    error = (seen["int8"] - seen["plain"]).abs().max()
    assert error < 0.02 * seen["plain"].abs().max()
    if deployed.get_submodule("stem").pool and not left:
        values = float(seen["plain"].max() - seen["plain"].min().clamp(max=0))
        assert float(deployed.get_buffer("stem.y_scale")) == pytest.approx(values / 255, rel=0.02)
    program = torch.export.export(deployed, (X,)).module()
    assert torch.equal(program(X), deployed(X))


def test_what_is_read_again_is_not_rounded(built: Engine) -> None:
    class Twice(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y: Tensor = self.conv(self.pool(x).relu() + x[..., ::2, ::2])
            return y

    deployed = fxbin.deploy(in_float(Twice("", kernel_size=2)), calibration=[X])
    calls = [str(node.target) for node in deployed.graph.find_nodes(op="call_module", sort=True)]
    assert calls == ["stem", "pool", "packed.conv"]


def test_a_pooling_with_a_hook_stays(built: Engine) -> None:
    model = Pooled("pool", kernel_size=2)
    model.pool.register_forward_hook(lambda *_: None)
    deployed = fxbin.deploy(in_float(model), calibration=[X])
    assert type(deployed.get_submodule("pool")) is nn.MaxPool2d


def test_the_range_is_that_of_all_samples(built: Engine) -> None:
    deployed = fxbin.deploy(in_float(Net()), calibration=[X, (X * 0 + 9,), X - 40])
    scale, zero = deployed.get_buffer("stem.x_scale"), deployed.get_buffer("stem.x_zero_point")
    low, high = float((X - 40).min()), 9.0
    assert float(scale) == pytest.approx((high - low) / 255)
    assert int(zero) == round(-low / float(scale))


def test_samples_are_left_as_they_are(built: Engine) -> None:
    class Doubled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    samples = [X.clone(), X.clone()]
    model = in_float(Doubled(), X.clone())
    deployed = fxbin.deploy(model, (X.clone(),), calibration=samples)
    assert all(torch.equal(sample, X) for sample in samples)
    assert float(deployed.get_buffer("stem.x_scale")) == pytest.approx(float(X.max() - X.min()) * 2 / 255)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9, when it loads
def test_it_is_copied_saved_compiled_and_exported(built: Engine, tmp_path: Path) -> None:
    deployed = fxbin.deploy(in_float(Net()), calibration=[X])
    made = copy.deepcopy(deployed)
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    assert torch.equal(made(X), deployed(X))
    expected = deployed(X)
    pickled: DeployedModule = pickle.loads(pickle.dumps(deployed))
    for each in (copy.deepcopy(deployed), copy.copy(deployed), pickled):
        assert torch.equal(each(X), expected)
        assert each.int8_sites == deployed.int8_sites
    other = fxbin.deploy(in_float(Net()), calibration=[X * 3])
    file = io.BytesIO()
    torch.save(deployed.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(X), expected)
    compiled = torch.compile(deployed, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(X), expected)
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(deployed, (X,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.equal(loaded(X), expected)
    torch.testing.assert_close(loaded(X[:2]), expected[:2])


@pytest.mark.parametrize("shape", [(1, 3, 12, 10), (0, 3, 12, 10), (2, 3, 20, 9)])
def test_other_sizes_of_batches_and_pictures(built: Engine, shape: tuple[int, ...]) -> None:
    model = in_float(Net())
    x = torch.randn(shape)
    y, expected = fxbin.deploy(model, calibration=[X])(x), fxbin.deploy(model)(x)
    assert y.shape == expected.shape
    assert x.numel() == 0 or (y - expected).abs().max() < 0.2 * expected.abs().max()


class Sequence(nn.Module):
    """Layers in places and of kinds that are less usual."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = nn.ModuleDict({
            "up": nn.ConvTranspose2d(8, 8, 2),
            "even": nn.Conv2d(8, 8, 2, padding="same"),
            "odd": nn.Conv2d(8, 8, (3, 5), padding="same", dilation=(2, 1)),
            "reflect": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
            "hooked": nn.Linear(8, 8),
            "twice": nn.Conv2d(8, 8, 1),
            "unbatched": nn.Conv2d(8, 8, 1),
            "linear": nn.Linear(8, 8),
        })  # fmt: skip
        self.rest["hooked"].register_forward_hook(lambda *_: None)
        self.conv, self.weight = nn.Conv2d(8, 8, 3), nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for name in ("up", "even", "odd", "reflect", "hooked", "twice", "twice"):
            x = self.rest[name](input=x) if name == "odd" else self.rest[name](x)
        x = torch.stack([self.rest["unbatched"](x[0]), x[1]])
        y: Tensor = self.rest["linear"](F.conv_transpose2d(x, self.weight).permute(0, 2, 3, 1))
        return y


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_layers_that_stay_in_float_say_why(built: Engine) -> None:
    x = torch.randn(2, 8, 9, 9)
    model = in_float(Sequence(), x)
    deployed = fxbin.deploy(model, (x,), calibration=[x])
    found = {site.name.removeprefix("rest."): site.reason for site in deployed.int8_sites}
    assert found == {
        "up": "ConvTranspose2d is neither nn.Conv2d nor nn.Linear",
        "even": "its padding differs between sides, or is not zeros",
        "odd": "",
        "reflect": "its padding differs between sides, or is not zeros",
        "hooked": "it has a hook, or code that is not that of its class",
        "twice": "",
        "unbatched": "",
        "conv_transpose2d": "it is a function, not a layer",
        "linear": "",
    }
    with torch.no_grad():
        y, expected = deployed(x), fxbin.deploy(model, (x,))(x)
    assert (y - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_stay_as_they_are(built: Engine, dtype: torch.dtype) -> None:
    x = X.to(dtype)
    model = in_float(Net().to(dtype), x)
    deployed = fxbin.deploy(model, (x,), calibration=[x])
    assert {site.reason for site in deployed.int8_sites} == {f"its weight is {dtype}"}
    assert torch.equal(deployed(x), fxbin.deploy(model, (x,))(x))


def test_a_layer_without_numbers_stays_in_float(built: Engine) -> None:
    deployed = fxbin.deploy(in_float(Net()), calibration=[X[:0]])
    assert {site.reason for site in deployed.int8_sites} == {
        "in the calibration, it had no numbers, or infinite ones, or NaN"
    }


def test_constant_inputs_and_weights(built: Engine) -> None:
    model = Net()
    nn.init.zeros_(model.shortcut.weight)
    deployed = fxbin.deploy(in_float(model), calibration=[X * 0])
    assert deployed(X).isfinite().all()


def test_a_backward_is_an_error(built: Engine) -> None:
    deployed = fxbin.deploy(in_float(Net()), calibration=[X])
    with pytest.raises(EngineError, match="backward: a layer in 1 bit or int8 has no gradient"):
        deployed.get_submodule("stem")(X.clone().requires_grad_()).sum().backward()


def test_autocast_keeps_its_dtype(built: Engine) -> None:
    stem = fxbin.deploy(in_float(Net()), calibration=[X]).get_submodule("stem")
    assert stem(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (X, r"calibration: expected a list of samples, got a Tensor; write \[x\]"),
        ([], "calibration: expected samples, got none"),
        ([X, X * torch.inf], "calibration: sample 1 has NaN or infinite values"),
        ([()], "calibration: sample 0: the input 'x' is missing"),
        (
            [X, torch.randn(1, 4, 12, 10)],
            r"calibration: sample 1: the model does not run on x .*\(1, 4, 12, 10\); .*\(4, 3, 12, 10\)",
        ),
        ([3.0], "calibration: sample 0 is a float without tensors"),
        ([(X, X)], "calibration: sample 0: the model does not take Tensor"),
    ],
)
def test_samples_that_do_not_fit(built: Engine, samples: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        fxbin.deploy(in_float(Net()), calibration=samples)
