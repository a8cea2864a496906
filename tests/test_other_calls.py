"""Models that are called in several ways: a graph for each, over one set of weights."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import TraceError, TransformError
from tests.transforming import config


class Segmenter(nn.Module):
    """Takes its mode as open-mmlab's models do; only its loss runs the auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head, self.aux = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor | None = None, mode: str = "tensor") -> Any:
        f = self.body(x)
        if mode == "tensor":
            return self.head(f)
        if mode == "loss":
            assert y is not None
            return {name: (head(f) - y).square().mean() for name, head in self._heads().items()}
        return self.head(f).argmax(1)

    def _heads(self) -> dict[str, nn.Module]:
        return {"main": self.head, "aux": self.aux}


X, Y = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 8, 8)
LOSS: tuple[tuple[Any, ...], dict[str, Any]] = ((X, Y), {"mode": "loss"})
PREDICT: tuple[tuple[Any, ...], dict[str, Any]] = ((X,), {"mode": "predict"})


def made(model: nn.Module | None = None, **given: Any) -> Any:
    return fxbin.transform(
        model or Segmenter(), config(2, 3, 8, 8), (X,), other_calls=[LOSS, PREDICT], **given
    )


def trained(model: Any) -> Any:
    model.binarization.enable(activations=True, weights=True)
    model.train()(*LOSS[0], **LOSS[1])
    return model.eval()


def number_of(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Which of the graphs runs; None for the model's own code."""
    graph = model.graph_for(args, kwargs)
    return None if graph is None else model.all_graphs.index(graph)


@pytest.mark.parametrize("training", [True, False])
def test_each_call_gives_what_the_original_does(training: bool) -> None:
    original = Segmenter().train(training)
    model = made(original).train(training)
    assert torch.equal(model(X), original(X))
    expected = original(*LOSS[0], **LOSS[1])
    for name, loss in model(*LOSS[0], **LOSS[1]).items():
        assert torch.equal(loss, expected[name])
    assert torch.equal(model(*PREDICT[0], **PREDICT[1]), original(*PREDICT[0], **PREDICT[1]))
    assert torch.equal(model(X, None, "predict"), original(X, None, "predict"))
    assert model.body[1].running_mean.equal(original.body[1].running_mean)


def test_each_call_has_a_graph() -> None:
    model = made()
    found = [number_of(model, *call) for call in (((X,), {}), LOSS, PREDICT, ((X, Y, "loss"), {}))]
    assert found[0] != found[1] != found[2] != found[0]
    assert None not in found
    assert found[3] == found[1]
    assert number_of(model, (X,), {"mode": "other"}) is None


def test_what_only_one_of_them_runs_is_binarized_named_and_reported() -> None:
    model = made()
    name = "Segmenter/NNCFConv2d[aux]/conv2d_0"
    assert name in model.binarization.sites
    assert name in dict(fxbin.node_names(model, config(2, 3, 8, 8)))
    sites = {site.name: site for site in fxbin.summary(model).sites}
    assert (sites[name].binarized, sites[name].example_call) == (True, 1)
    assert "yes (other_calls[0])" in str(fxbin.summary(model))
    without = fxbin.transform(Segmenter(), config(2, 3, 8, 8), (X,))
    assert fxbin.summary(without).macs == fxbin.summary(model).macs
    assert fxbin.summary(without).never_ran == ("aux",)


def test_scopes_may_name_what_only_one_of_them_runs() -> None:
    ignoring = config(2, 3, 8, 8, ignored_scopes=["{re}.*aux.*"])
    model = fxbin.transform(Segmenter(), ignoring, (X,), other_calls=[LOSS])
    assert "Segmenter/NNCFConv2d[aux]/conv2d_0" not in model.binarization.sites


def test_all_train_one_set_of_weights_and_scales() -> None:
    model = made()
    model.binarization.enable(activations=True, weights=True)
    sum(model.train()(*LOSS[0], **LOSS[1]).values()).backward()
    for site in model.binarization.sites.values():
        assert site.activation.is_scale_initialized
        assert site.activation.threshold.grad.abs().sum() > 0
    by_hand = model.eval()(X)
    losses = model(*LOSS[0], **LOSS[1])
    assert torch.equal(losses["main"], (by_hand - Y).square().mean())
    assert torch.equal(model(*PREDICT[0], **PREDICT[1]), by_hand.argmax(1))


def _hooked(model: Any) -> None:
    model.head.register_forward_hook(lambda *_: None)


def _switched(model: Any) -> None:
    model.body[1].train()
    model.body[1].momentum = 0.0


@pytest.mark.parametrize("change", [_hooked, _switched])
def test_other_calls_live_on_when_the_model_is_changed(change: Callable[[Any], None]) -> None:
    model = trained(made())
    changed = trained(made())
    change(changed)
    for module in (model, changed):
        module.body[1].train(changed.body[1].training)
    for name, loss in changed(*LOSS[0], **LOSS[1]).items():
        assert torch.allclose(loss, model(*LOSS[0], **LOSS[1])[name])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("in_float")  # compared to the bit
def test_compiled() -> None:
    model = trained(made())
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    outer: Any = torch.compile(functools.partial(model, mode="loss"), backend="aot_eager", fullgraph=True)
    for call in (((X,), {}), PREDICT):
        assert torch.equal(compiled(*call[0], **call[1]), model(*call[0], **call[1]))
    expected = model(*LOSS[0], **LOSS[1])
    for losses in (compiled(*LOSS[0], **LOSS[1]), outer(X, Y)):
        assert all(torch.allclose(losses[name], expected[name]) for name in expected)


def test_each_call_can_be_exported(tmp_path: Path) -> None:
    model = trained(made())
    for index, (args, kwargs) in enumerate([((X,), {}), LOSS, PREDICT]):
        report = fxbin.export_onnx(model, tmp_path / f"{index}.onnx", args, example_kwargs=kwargs)
        assert len(report.sites) == (3 if index == 1 else 2)
        session = onnxruntime.InferenceSession(tmp_path / f"{index}.onnx")
        values = dict(zip(["x", "y"], args, strict=False))
        found = session.run(None, {item.name: values[item.name].numpy() for item in session.get_inputs()})
        expected = model(*args, **kwargs)
        expected = list(expected.values()) if isinstance(expected, dict) else [expected]
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(torch.from_numpy(one), other, atol=1e-5)


def test_torch_export_of_another_call_goes_through_a_module_around_it() -> None:
    model = trained(made())

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, y: Tensor) -> Any:
            return self.model(x, y, mode="loss")

    program: Any = torch.export.export(Loss(), (X, Y)).module()
    expected = model(*LOSS[0], **LOSS[1])
    for name, loss in program(X, Y).items():
        assert torch.allclose(loss, expected[name])


def test_nncf_has_no_place_for_what_only_another_call_runs(tmp_path: Path) -> None:
    model = made()
    with pytest.raises(fxbin.errors.FxbinError, match=r"\[aux\]/conv2d_0: only another example call runs it"):
        fxbin.save_nncf_checkpoint(model, tmp_path / "nncf.pth")


class Twice(nn.Module):
    """Runs its convolution once or twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, again: bool = False) -> Any:
        return self.conv(self.conv(x)) if again else self.conv(x)


def test_a_layer_that_another_call_runs_more_often_has_a_call_site_for_each() -> None:
    model: Any = fxbin.transform(Twice(), config(2, 3, 8, 8), (X,), other_calls=[((X, True), {})])
    assert [*model.binarization.sites] == [f"Twice/NNCFConv2d[conv]/conv2d_{i}" for i in range(2)]
    model.binarization.enable(activations=True, weights=True)
    model.train()(X, True)
    once, twice = model.eval()(X), model(X, True)
    model.register_forward_hook(lambda *_: None)
    model.conv.register_forward_hook(lambda *_: None)  # now its own code runs
    assert number_of(model, (X,), {}) is None
    assert torch.equal(model(X), once)
    assert torch.equal(model(X, True), twice)


class InContainers(Segmenter):
    """Takes one dict, in which there may be targets."""

    def forward(self, batch: dict[str, Any], **options: Any) -> Any:  # type: ignore[override]
        y = super().forward(batch["x"], mode=options.get("mode", "tensor"))
        return (y - batch["y"]).square().mean() if "y" in batch else y


def test_calls_are_told_apart_by_what_is_inside_of_containers() -> None:
    calls: list[Any] = [(({"x": X, "y": Y},), {}), (({"x": X},), {"mode": "predict"})]
    original = InContainers()
    model = fxbin.transform(original, config(2, 3, 8, 8), ({"x": X},), other_calls=calls)
    found = [number_of(model, *call) for call in [(({"x": X},), {}), *calls]]
    assert None not in found
    assert len(set(found)) == 3
    model.train()
    for args, kwargs in [(({"x": X},), {}), *calls]:
        assert torch.equal(model(*args, **kwargs), original(*args, **kwargs))


def test_other_arguments_than_all_of_them_run_the_own_code() -> None:
    original = InContainers().eval()
    model = fxbin.transform(original, config(2, 3, 8, 8), ({"x": X},)).eval()
    assert torch.equal(model({"x": X, "y": Y}), original({"x": X, "y": Y}))
    assert torch.equal(model({"x": X}, mode="predict"), original({"x": X}, mode="predict"))


class Resized(nn.Module):
    """Has a default that the code of a graph cannot spell, and takes any number of inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] = (4, 4), *more: Any, scale: float = 1.0) -> Any:
        return scale * sum(more, self.conv(nn.functional.interpolate(x, size)))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((), {"size": (5, 5)}),
        (((6, 5),), {}),
        (((4, 4), torch.ones(2, 3, 4, 4)), {}),
        ((), {"scale": 2.0}),
    ],
)
def test_arguments_that_the_example_left_out(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    original = Resized()
    model = fxbin.transform(original, config(2, 3, 8, 8))
    assert torch.equal(model(X, *args, **kwargs), original(X, *args, **kwargs))


def test_the_graph_itself_refuses_more() -> None:
    model = fxbin.transform(Resized(), config(2, 3, 8, 8))
    with pytest.raises(TraceError, match=r"the argument 'size' = its default, and now it is \(3, 3\)"):
        torch.fx.Interpreter(model).run(X, (3, 3))
    with pytest.raises(TraceError, match=r"nothing in '\*more', and now there is 1"):
        torch.fx.Interpreter(model).run(X, ..., X)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([(X, Y)], r"other_calls\[0\]: expected a tuple of positional inputs.*got \(Tensor, Tensor\)"),
        ([LOSS, X], r"other_calls\[1\]: expected .*got Tensor"),
        (LOSS, r"other_calls\[0\]: expected .*got \(Tensor, Tensor\)"),
        ([((X[:1],), {})], r"other_calls\[0\]: the graph of the first call is valid for these arguments"),
        ([LOSS, LOSS], r"other_calls\[1\]: the graph of other_calls\[0\] is valid for these"),
    ],
)
def test_refused(calls: Any, message: str) -> None:
    with pytest.raises(TransformError, match=message):
        fxbin.transform(Segmenter(), config(2, 3, 8, 8), (X,), other_calls=calls)


def test_a_call_that_cannot_be_traced_is_named() -> None:
    with pytest.raises(TraceError, match=r"other_calls\[0\]: .*unexpected keyword argument 'speed'"):
        fxbin.transform(Segmenter(), config(2, 3, 8, 8), (X,), other_calls=[((X,), {"speed": 1})])


class Looking(Segmenter):
    """Looks at the content of its target."""

    def forward(self, x: Tensor, y: Tensor | None = None, mode: str = "tensor") -> Any:
        if y is not None and y.max().item() > 100:
            return None
        return super().forward(x, y, mode)


def test_islands_are_refused_with_the_way_out() -> None:
    with pytest.raises(TraceError, match=r"other_calls\[0\]: Looking has code that no graph can hold.*Leave"):
        fxbin.transform(Looking(), config(2, 3, 8, 8), (X,), other_calls=[LOSS])
