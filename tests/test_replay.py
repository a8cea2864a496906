"""Other tracers of torch.fx."""

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

import fxbin
from fxbin.binarizers import Binarizer
from fxbin.errors import TraceError
from fxbin.graph.node_info import node_info
from tests.binarizing import binarize
from tests.other_tracers import batch, binarized, in_each_stage
from tests.tiny_resnet import TinyBlock, TinyResNet
from tests.transforming import SMALL, Small

pytestmark = pytest.mark.usefixtures("in_float")  # compared to the bit


@in_each_stage("Small", "resnet", "efficientnet")
def test_symbolic_trace_gives_the_same_numbers(name: str, stage: str) -> None:
    model = binarized(name, stage)
    traced = fx.symbolic_trace(model)
    for count in (2, 3):
        assert torch.equal(traced(batch(name, count)), model(batch(name, count)))


def test_binarizers_are_leaves_that_follow_the_model() -> None:
    model, x = binarized("Small", "full precision"), batch("Small", 2)
    traced = fx.symbolic_trace(model)
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert {path for path, m in model.named_modules() if isinstance(m, Binarizer)} <= called
    before = traced(x)
    model.binarization.enable(activations=True, weights=True)
    assert torch.equal(traced(x), model(x))
    assert not torch.equal(traced(x), before)


@pytest.mark.parametrize("training", [False, True])
def test_what_was_traced_trains_and_is_traced_again(training: bool) -> None:
    model, x = copy.deepcopy(binarized("Small", "activations and weights")), batch("Small", 2)
    traced = fx.symbolic_trace(fx.symbolic_trace(model.train(training))).train(training)
    state = copy.deepcopy(model.state_dict())
    gradients = []
    for network in (model, traced):
        model.load_state_dict(state)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            y = network(x)
        gradients.append((y, *torch.autograd.grad(y.square().sum(), list(network.parameters()))))
    # The model has a convolution and its binarizers in one step of autograd.
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


class OwnTracer(fx.Tracer):
    """Keeps every block whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, TinyBlock) or super().is_leaf_module(m, module_qualified_name)


def test_a_tracer_of_ones_own_gets_what_is_in_the_graph_also_for_modules_that_it_keeps_whole() -> None:
    x = torch.rand(2, 3, 16, 16)
    model = binarize(TinyResNet(), x)
    tracer = OwnTracer()
    traced = fx.GraphModule(model, tracer.trace(model))
    assert torch.equal(traced(x), model(x))
    assert "is_leaf_module" not in vars(tracer)


def test_a_transformed_model_inside_another_one_is_traced() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Any:
            return self.inner(x) + self.inner(x=x)

    model, x = binarized("Small", "activations and weights"), batch("Small", 2)
    assert torch.equal(fx.symbolic_trace(Twice())(x), 2 * model(x))


class Guarded(nn.Module):
    """Looks at a size, at its mode, and switches gradients off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor, *, flag: bool = True) -> Tensor:
        with torch.no_grad():
            x = self.conv(x)
        if x.shape[2] > 7:
            x = F.relu(x)
        if self.training:
            x = x * 2
        n, c, h, w = self.conv2(x).shape
        y: Tensor = self.conv2(x).view(n, c, h * w)
        return y


def test_checks_modes_and_gradients_stay_as_in_the_graph() -> None:
    model = fxbin.transform(Guarded(), SMALL)
    model.binarization.enable(activations=True, weights=True)
    model(batch("Small", 2))
    for training in (True, False):
        traced = fx.symbolic_trace(model.train(training))
        y = traced(batch("Small", 3))
        assert torch.equal(y, model(batch("Small", 3)))
        y.sum().backward()
        assert model.get_parameter("conv.weight").grad is None
        with pytest.raises(TraceError, match=r"shape\[2\] > 7"):
            traced(torch.rand(2, 3, 5, 5))
    fx.symbolic_trace(traced)


def test_a_part_around_an_island_is_traced_as_it_runs() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.conv(x))

    class Loops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: Tensor) -> Tensor:
            while x.sum() > 100:
                x = x / 2
            y: Tensor = self.block(x)
            return y

    model = fxbin.transform(Loops(), SMALL)
    assert "block" in model.traced_parts
    part = fx.symbolic_trace(nn.Sequential(model.get_submodule("block")))
    x = torch.rand(2, 3, 8, 8) / 10
    plain = model(x)
    assert torch.equal(part(x), plain)
    model.binarization.enable(activations=True, weights=True)
    model(x)
    assert torch.equal(part(x), model(x))
    assert not torch.equal(part(x), plain)


@in_each_stage("Small", "resnet")
def test_fuse_leaves_binarized_layers_alone(name: str, stage: str) -> None:
    model, x = binarized(name, stage), batch(name, 2)
    torch.testing.assert_close(fuse(model)(x), model(x))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@in_each_stage("Small", "resnet")
def test_layers_in_full_precision_alone_are_quantized_by_prepare_fx(name: str, stage: str) -> None:
    quantization: Any = pytest.importorskip("torch.ao.quantization.quantize_fx")
    from torch.ao.quantization import get_default_qconfig_mapping

    model, x = binarized(name, stage), batch(name, 2)
    mapping = get_default_qconfig_mapping("onednn")
    prepared = quantization.prepare_fx(copy.deepcopy(model), mapping, (x,))
    torch.testing.assert_close(prepared(x), model(x))
    converted = quantization.convert_fx(prepared)
    assert (converted(x) - model(x)).abs().max() < 0.1 * model(x).abs().max()  # 8 bits
    kept = {node.target for node in converted.graph.nodes if node.op == "call_module"}
    assert {path for path, m in model.named_modules() if isinstance(m, Binarizer)} <= kept


@in_each_stage("resnet", "efficientnet")
def test_feature_extractors_give_what_modules_give(name: str, stage: str) -> None:
    model, x = binarized(name, stage), batch(name, 2)
    asked, inside = ("layer2", "layer2.0.bn2") if name == "resnet" else ("blocks.1", "blocks.1.1.bn1")
    extractor = create_feature_extractor(model, [asked, inside], suppress_diff_warning=True)
    # The graph node by node, up to where the last node of the module is.
    expected: dict[str, Tensor] = {}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            y = super().run_node(n)
            info = node_info(n)
            owner = str(n.target) if n.op == "call_module" else info.owner if info and info.scope else ""
            for path in (asked, inside):
                if f"{owner}.".startswith(f"{path}."):
                    expected[path] = y
            return y

    Recording(model).run(x)
    found = extractor(x)
    for path in (asked, inside):
        assert torch.equal(found[path], expected[path])


def test_feature_extractors_of_a_module_that_ends_in_a_function() -> None:
    x = torch.rand(2, 3, 16, 16)
    model = TinyResNet().eval()
    binary = fxbin.transform(model, {**SMALL, "input_info": {"sample_size": [2, 3, 16, 16]}})
    names = ["conv1", "layer1", "layer1.0", "layer2.0.bn1", "layer2.0.downsample"]
    expected = create_feature_extractor(model, names)(x)
    found = create_feature_extractor(binary, names)(x)
    for name in names:
        assert torch.equal(found[name], expected[name]), name


def test_the_signature_is_that_of_the_model() -> None:
    model = fxbin.transform(Guarded(), SMALL)
    assert list(inspect.signature(model.forward).parameters) == ["x", "flag"]


def test_small_is_traced_before_any_batch() -> None:
    model = fxbin.transform(Small(), SMALL)
    model.binarization.enable(activations=True)
    traced = fx.symbolic_trace(model)
    traced(batch("Small", 2))
    assert all(site.activation.is_scale_initialized for site in model.binarization.sites.values())
