"""compression.rewrites, on whole models."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError, TransformError
from tests.passes.blocks import Dropping, Plain, Residual, conv
from tests.passes.test_replace_stem import Stem

ALL = ["rprelu", "shortcuts", "norm_before_binarize", "downsample_pooling"]
SIZE = (2, 3, 8, 8)


class Network(nn.Module):
    """A ResNet of two blocks."""

    def __init__(self, block: Callable[..., nn.Module] = Residual) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.layer1, self.layer2 = block(4, 4), Residual(4, 8, 2)
        self.head = nn.Linear(8, 3)
        self.factor = 1

    def forward_features(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer2(self.layer1(self.stem(x)))
        return y * self.factor

    def forward(self, x: Tensor, pooled: bool = True) -> Tensor:
        y = self.forward_features(x)
        return self.head(y.mean((2, 3))) if pooled else y


def config(*rewrites: str, size: tuple[int, ...] = SIZE, **keys: Any) -> dict[str, Any]:
    ignored = {"ignored_scopes": [r"{re}\[stem\]|\[downsample\]"], **keys}
    given = {key: value for key, value in ignored.items() if value is not None}
    section = {"algorithm": "binarization", "rewrites": list(rewrites), **given}
    return {"input_info": {"sample_size": list(size)}, "compression": section}


def rewritten(model: nn.Module, *rewrites: str, **keys: Any) -> Any:
    torch.manual_seed(0)
    return fxbin.transform(model, config(*rewrites, **keys))


class ByHand(nn.Module):
    """`Network` with shortcuts, pooling and an activation, as Bi-Real Net and ReActNet describe it."""

    def __init__(self, model: Network, activation: str) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.activation = activation
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: Tensor) -> Tensor:
        model = self.model
        y = self.block(model.layer1, model.stem(x))
        y = self.block(model.layer2, y)
        return model.head(y.mean((2, 3)))  # type: ignore[no-any-return]

    def block(self, block: Any, x: Tensor) -> Tensor:
        shortcut = x
        if block.downsample is not None:
            weight, norm = block.downsample[0].weight, block.downsample[1]
            shortcut = norm(F.conv2d(F.avg_pool2d(x, 2), weight))
        y = self.act(block.bn1(block.conv1(x)) + shortcut)
        return self.act(block.bn2(block.conv2(y)) + y)

    def act(self, x: Tensor) -> Tensor:
        if self.activation == "hardtanh":
            return torch.where(x.abs() < 1, x, x.sign()) + 0 * self.slope
        return torch.where(x > 0, x, self.slope * x)


@pytest.mark.parametrize("activation", ["rprelu", "hardtanh"])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_the_network_written_by_hand(
    training: bool, activation: str
) -> None:
    model, x = Network(), torch.randn(SIZE)
    by_hand = ByHand(model, activation).train(training)
    module = rewritten(model, "shortcuts", activation, "downsample_pooling").train(training)
    expected, found = by_hand(x), module(x)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    parameters = dict(module.named_parameters())
    for name, parameter in by_hand.model.named_parameters():
        torch.testing.assert_close(parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)
    slopes = [p.grad.sum() for name, p in parameters.items() if name.endswith("rprelu.beta")]
    torch.testing.assert_close(sum(slopes, torch.tensor(0.0)), by_hand.slope.grad, rtol=1e-4, atol=1e-5)


class CalledOnceMore(nn.Module):
    """The strided layer of a shortcut, which is called elsewhere as well."""

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = conv(3, 4), conv(4, 8, 3, 2), conv(8, 8)
        self.downsample, self.is_first = conv(4, 8, 1, 2), is_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        other = self.downsample(-x) if self.is_first else None
        y = F.relu(self.conv2(self.conv1(x)) + self.downsample(x))
        z: Tensor = y * (self.downsample(-x) if other is None else other)
        return z


@pytest.mark.parametrize("is_first", [False, True])
def test_a_pooled_layer_may_be_called_elsewhere_as_well(is_first: bool) -> None:
    model, x = CalledOnceMore(is_first), torch.randn(SIZE)
    features = model.stem(x)
    shortcut = F.conv2d(F.avg_pool2d(features, 2), model.downsample.weight)
    expected = F.relu(model.conv2(model.conv1(features)) + shortcut) * model.downsample(-features)
    module = rewritten(model, "downsample_pooling")
    torch.testing.assert_close(module(x), expected)
    module.binarization.enable(activations=True, weights=True)
    module(x).sum().backward()
    assert module.downsample.weight.grad is not None


def test_the_original_and_its_keys_stay() -> None:
    model = Network()
    before = copy.deepcopy(model.state_dict())
    module = rewritten(model, *ALL)
    found = module.state_dict()
    assert [key for key in found if key in before] == list(before)
    assert all(torch.equal(found[key], value) for key, value in before.items())
    assert [*model.state_dict()] == [*before]
    assert [name for name, _ in model.named_modules() if "rprelu" in name] == []
    added = {key.split(".")[3] for key in found if key not in before and "_binarizer" not in key}
    assert added <= {"gamma", "zeta", "beta", "norm"}


def test_without_rewrites_nothing_is_recorded() -> None:
    module = rewritten(Network())
    assert module.binarization.rewrites == {}
    assert "rewrite" not in str(fxbin.summary(module))
    assert all(site.rewrites == () for site in fxbin.summary(module).sites)


def test_the_order_in_the_config_does_not_matter() -> None:
    model = Network()
    first, second = rewritten(model, *ALL), rewritten(model, *reversed(ALL))
    assert str(first.graph) == str(second.graph)


def test_summary_says_what_has_changed_and_why_not() -> None:
    model = Network(lambda *_: nn.Sequential(Residual(4, 4), Plain(4, 4, padding=0)))
    report = fxbin.summary(rewritten(model, "shortcuts", "rprelu"))
    text = str(report)
    assert (
        'rewrite "shortcuts": 4 of 5 call sites changed: 2 x the shortcut of its residual block; 2 x '
        "identity" in text
    )
    assert (
        'left alone by "shortcuts": layer1.1.conv: its output of 6x6 for an input of 8x8 has another size'
        in text
    )
    (site,) = (site for site in report.to_dict()["sites"] if site["owner"] == "layer2.conv2")
    assert site["rewrites"][0] | {"layout": ""} == {
        "rewrite": "shortcuts", "change": "identity", "reason": "", "layer": "", "layout": "",
    }  # fmt: skip
    assert site["rewrites"][1]["layer"] == "layer2.conv2.rprelu"


def test_a_rewrite_that_changes_nothing_warns() -> None:
    with pytest.warns(
        UserWarning,
        match='compression.rewrites: "downsample_pooling" has changed nothing: the .* about. Remove it$',
    ):
        rewritten(nn.Sequential(Plain(3, 3)), "downsample_pooling", ignored_scopes=None)


def test_a_rewrite_of_a_preset_is_no_news_where_there_is_nothing_that_it_is_about() -> None:
    config = {"preset": "recommended", "input_info": {"sample_size": list(SIZE)}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fxbin.transform(nn.Sequential(Plain(3, 3)), config)
    with pytest.warns(UserWarning, match="downsample_pooling.* it is binarized: put it into ignored_scopes"):
        fxbin.transform(nn.Sequential(Residual(3, 4, stride=2)), config)


def _hook(module: nn.Module) -> None:
    module.register_forward_hook(lambda *_: None)


def _set_factor(model: Any) -> None:
    model.factor = 2


def _replace_shortcut(model: Any) -> None:
    model.layer2.downsample = nn.Sequential(conv(4, 8, 1, 2), nn.BatchNorm2d(8))


def _assign_forward(model: Any) -> None:
    model.layer1.forward = nn.Identity().forward


def _give_class(model: Any) -> None:
    model.layer1.__class__ = type("Other", (type(model.layer1),), {})


CHANGES: list[Callable[[Any], None]] = [
    lambda model: _hook(model.layer1),
    lambda model: _hook(model.layer2.relu),
    _set_factor,
    _replace_shortcut,
    _assign_forward,
    _give_class,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_whose_graphs_are_no_longer_valid_does_not_run(
    change: Callable[[Any], None], compiled: bool
) -> None:
    module, x = rewritten(Network(), *ALL).eval(), torch.rand(SIZE)
    module(x)
    change(module)
    run = torch.compile(module, backend="eager") if compiled else module
    with pytest.raises(TransformError, match=r"^Network: no graph fits this call.*\(shortcuts, rprelu,"):
        run(x)


def _compiled_block(model: Any) -> Any:
    run: Any = torch.compile(model.layer1, backend="eager")
    return run(torch.rand(2, 4, 8, 8))


CALLS: list[Callable[[Any], Any]] = [
    lambda model: model(torch.rand(SIZE), pooled=False),
    lambda model: model.forward_features(torch.rand(SIZE)),
    lambda model: model.layer1(torch.rand(2, 4, 8, 8)),
    lambda model: model.layer1.conv1(torch.rand(2, 4, 8, 8)),
    lambda model: model.layer2.downsample(torch.rand(2, 4, 8, 8)),
    lambda model: Network.forward(model, torch.rand(SIZE)),
    lambda model: model.own_forward()(torch.rand(SIZE)),
    _compiled_block,
    lambda model: nn.Sequential(model.layer1, model.layer2)(torch.rand(2, 4, 8, 8)),
]


@pytest.mark.parametrize("call", CALLS)
def test_code_that_lacks_the_rewrites_does_not_run(call: Callable[[Any], Any]) -> None:
    module = rewritten(Network(), *ALL).eval()
    with pytest.raises(TransformError, match=r"compression\.rewrites has changed"):
        call(module)
    module(torch.rand(SIZE))


def test_a_function_that_convolves_is_refused_alike() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.bn = nn.Parameter(torch.rand(3, 3, 3, 3)), nn.BatchNorm2d(3)

        def features(self, x: Tensor) -> Tensor:
            return F.relu(self.bn(F.conv2d(x, self.kernel, padding=1)))

        def forward(self, x: Tensor) -> Tensor:
            return self.features(x).mean((2, 3))

    module = rewritten(Functional(), "shortcuts", ignored_scopes=None)
    assert module(torch.rand(SIZE)).shape == (2, 3)
    with pytest.raises(TransformError, match=r"compression\.rewrites has changed"):
        module.features(torch.rand(SIZE))


def test_what_runs_the_graphs_runs_the_rewrites(tmp_path: Path) -> None:
    module, x = rewritten(Network(), *ALL).eval(), torch.rand(SIZE)
    expected = module(x)
    program = torch.export.export(module, (x,)).module()
    seen: list[Tensor] = []
    hooked = copy.deepcopy(module)
    hooked.register_forward_hook(lambda _module, _args, y: seen.append(y))
    others = [
        copy.deepcopy(module), hooked, program, nn.DataParallel(module),
        torch.compile(module, backend="eager", fullgraph=True), torch.jit.trace(module, x),
        torch.optim.swa_utils.AveragedModel(module),
        lambda x: torch.func.functional_call(module, module.state_dict(), (x,)),
    ]  # fmt: skip
    for other in others:
        torch.testing.assert_close(other(x), expected, rtol=1e-5, atol=1e-6)
    assert len(seen) == 1


def test_both_modes_get_the_same_layers_although_one_has_more_nodes() -> None:
    module = rewritten(Network(Dropping), "shortcuts", "rprelu")
    train, evaluate = (str(module.graph_of_mode(training=mode)) for mode in (True, False))
    assert "rand" in train
    for graph in (train, evaluate):
        assert graph.count("operator.add") == 4
        assert graph.count("rprelu](") == 4
    module.train()(torch.rand(SIZE)).sum().backward()
    assert all(p.grad is not None for name, p in module.named_parameters() if "_binarizer" not in name)


class OnlyInTraining(Residual):
    """Has its shortcut in train mode only."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + x) if self.training else F.relu(y)


def test_what_differs_between_the_modes_is_left_alone() -> None:
    module = rewritten(Network(OnlyInTraining), "shortcuts")
    reasons = {each[0].reason for name, each in module.binarization.rewrites.items() if "layer1" in name}
    assert reasons == {
        "the layers around it are not the same in train and eval mode, or in two example calls"
    }
    for mode in (True, False):
        module.train(mode)(torch.rand(SIZE))


class Asking(Residual):
    """Its code reads the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.5, self.training))


def test_a_graph_that_is_traced_later_has_the_rewrites() -> None:
    module, x = rewritten(Network(Asking), *ALL), torch.rand(SIZE)
    keys = list(module.state_dict())
    module.eval()
    module.layer1.train()
    before = len(module._graph_choice.variants)
    module(x)
    assert len(module._graph_choice.variants) == before + 1
    graph = str(module._graph_choice.variants[-1].graph)
    assert graph.count("rprelu](") == 4
    assert "avg_pool2d" in graph
    assert list(module.state_dict()) == keys
    with pytest.raises(TransformError, match=r"compression\.rewrites has changed"):
        module.layer1(torch.rand(2, 4, 8, 8))


class Differing(Residual):
    """Has a shortcut in train mode only if its submodule is in train mode, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + x) if self.training == self.conv1.training else F.relu(y)


def test_a_graph_that_cannot_have_the_rewrites_does_not_run() -> None:
    module, x = rewritten(Network(Differing), "shortcuts").eval(), torch.rand(SIZE)
    module.layer1.conv1.train()
    with pytest.raises(
        TransformError, match=r'"shortcuts" has changed .*cannot do the same in the present modes'
    ):
        module(x)
    module.eval()
    module(x)


def test_other_calls_have_the_rewrites() -> None:
    torch.manual_seed(0)
    x = torch.rand(SIZE)
    module: Any = fxbin.transform(Network(), config(*ALL), other_calls=[((x,), {"pooled": False})])
    module.eval()
    features = module(x, pooled=False)
    torch.testing.assert_close(module.head(features.mean((2, 3))), module(x))


class Deciding(nn.Module):
    """Runs blocks in an order that depends on the data, as plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.plain = Residual(3, 3), Plain(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return self.plain(y) if float(y.detach().sum()) > -1 else y


def test_parts_inside_plain_python_are_rewritten() -> None:
    module = rewritten(Deciding(), "shortcuts", "rprelu", ignored_scopes=None)
    assert module.islands
    module.eval()
    x = torch.rand(SIZE)
    block = module.traced_parts["block"]
    assert str(block.graphs[0]).count("operator.add") == 2
    module(x)
    assert all(each.change for found in module.binarization.rewrites.values() for each in found)
    _hook(module.block.relu)
    with pytest.raises(TransformError, match=r"Deciding, block: no graph fits this call"):
        module(x)


class Remembering(Residual):
    """Sets an attribute in each call."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = super().forward(x)
        return self.seen


class Counting(nn.Module):
    """Sets a constant."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.block, self.ran = Residual(*sizes), False

    def forward(self, x: Tensor) -> Tensor:
        self.ran = True
        return self.block(x)  # type: ignore[no-any-return]


def test_code_that_graphs_cannot_replace_is_refused_by_the_transform() -> None:
    with pytest.raises(TransformError, match=r"Network: its forward sets attributes.*: layer1\.seen\."):
        rewritten(Network(Remembering), "shortcuts")
    model = Network(Counting)
    with pytest.raises(TransformError, match=r"layer1\.ran\. .*call the model once before the transform"):
        rewritten(model, "shortcuts")
    model(torch.rand(SIZE))
    rewritten(model, "shortcuts")(torch.rand(SIZE))


class TrainsAsPython(Residual):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return -y if self.training and float(y.detach().mean()) < 0 else y


def test_what_no_graph_can_hold_in_train_mode_is_left_alone_in_both() -> None:
    module = rewritten(Network(TrainsAsPython), "shortcuts")
    found = {name.split("[")[1][:6]: each[0].change for name, each in module.binarization.rewrites.items()}
    assert found == {"layer1": "", "layer2": "identity"}
    for mode in (True, False):
        module.train(mode)(torch.rand(SIZE))


def test_another_tracer_records_the_rewrites() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = rewritten(Network(), *ALL).eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)  # type: ignore[no-any-return]

    around, x = Around(), torch.rand(SIZE)
    traced = torch.fx.symbolic_trace(around)
    assert torch.equal(traced(x), around(x))


class WithStem(Network):
    """Begins as ResNet does, with a layer that reads its mode."""

    def __init__(self) -> None:
        super().__init__(Asking)
        self.stem = Stem()  # type: ignore[assignment]


def test_a_replaced_stem_is_recorded_guarded_and_traced_again() -> None:
    size = (2, 3, 16, 16)
    module, x = rewritten(WithStem(), "quicknet_stem", size=size), torch.rand(size)
    assert [*module.binarization.rewrites] == ["WithStem/Stem[stem]/NNCFConv2d[conv1]/conv2d_0"]
    text = str(fxbin.summary(module))
    assert 'rewrite "quicknet_stem": 1 of 1 call sites changed: 1 x the stem of QuickNet' in text
    assert 'no: added by the rewrite "quicknet_stem"' in text
    assert "never ran" not in text
    assert [site.owner for site in fxbin.summary(module).replaced] == ["stem.conv1"]
    module.eval()
    module.layer1.train()
    module(x)
    module.eval()
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    with pytest.raises(TransformError, match=r"has changed around it there \(quicknet_stem\)"):
        module.forward_features(x)
    module.stem.conv1 = nn.Conv2d(3, 4, 7, 2, 3)
    with pytest.raises(TransformError, match="no graph fits this call"):
        module(x)


class DecidingBetween(nn.Module):
    """Calls a convolution from code that runs as plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return self.bn(y) if float(y.detach().sum()) > -1 else y


def test_across_plain_python_nothing_changes() -> None:
    with pytest.warns(UserWarning, match='"shortcuts" has changed nothing'):
        module = rewritten(DecidingBetween(), "shortcuts", ignored_scopes=None)
    ((found,),) = module.binarization.rewrites.values()
    assert found.reason == "its output is what the graph returns, and what follows is not known"
    assert module(torch.rand(SIZE)).shape == SIZE


def test_a_run_trains_saves_exports_and_deploys(tmp_path: Path) -> None:
    model, x = Network(), torch.rand(SIZE)
    keys = {"params": {"activation_scale_init": "mse"}}
    module = rewritten(model, *ALL, **keys).train()
    module.binarization.enable()
    optimizer = torch.optim.Adam(fxbin.parameter_groups(module))
    for _ in range(2):
        optimizer.zero_grad()
        module(x).square().sum().backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in module.parameters())
    expected = module.eval()(x)
    again = rewritten(model, *ALL, **keys).eval()
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(x), expected)
    fxbin.export_onnx(module, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fxbin.deploy(module)(x), expected, rtol=1e-4, atol=1e-5)


def test_nncf_files_cannot_hold_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"compression\.rewrites: NNCF has no shortcuts"):
        fxbin.save_nncf_checkpoint(rewritten(Network(), "shortcuts"), tmp_path / "model.pth", epoch=0)


def test_a_layer_with_an_added_one_is_no_part_of_a_new_model() -> None:
    module = rewritten(Network(), "shortcuts", "rprelu")
    with pytest.raises(TransformError, match=r"0.(conv1|conv2)"):
        fxbin.transform(nn.Sequential(module.layer1), config(size=(2, 4, 8, 8), ignored_scopes=None))


def test_layers_follow_the_dtype_of_the_model() -> None:
    module = rewritten(Network().to(torch.bfloat16), *ALL)
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert isinstance(module, BinarizedModule)
    assert module(torch.rand(SIZE, dtype=torch.bfloat16)).isfinite().all()
    module = rewritten(Network(), *ALL).double()
    assert module(torch.rand(SIZE, dtype=torch.float64)).dtype == torch.float64
