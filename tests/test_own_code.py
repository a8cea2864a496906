"""A transformed model used like the original module: compared with the same steps done by hand."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.optim.swa_utils import update_bn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, assert_same_outputs, config

TIMM = config(1, 3, 64, 64)


def batch(seed: int = 0, size: int = 8) -> Tensor:
    return 2 * torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def small(model: nn.Module | None = None, **section: Any) -> Any:
    torch.manual_seed(0)
    return fxbin.transform(Small() if model is None else model, config(2, 3, 8, 8, **section))


def switched_on(model: BinarizedModule, x: Tensor) -> Any:
    """`model` with all binarizers on and scales started, in eval mode."""
    model.binarization.enable(activations=True, weights=True)
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def runs_a_graph(model: BinarizedModule) -> bool:
    return model._graph_choice.chosen().graph is not None


def layer(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path)


def binarized_by_hand(model: BinarizedModule, path: str, x: Tensor) -> Tensor:
    """The convolution at `path` as its formula has it."""
    conv = model.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    s = conv.get_parameter("activation_binarizer.scale").exp()
    t = conv.get_parameter("activation_binarizer.threshold").sigmoid()
    w = torch.where(conv.weight > 0, 1.0, -1.0) * conv.weight.abs().mean((1, 2, 3), keepdim=True)
    return F.conv2d(torch.where(x > s * t, s, 0.0), w, conv.bias, conv.stride, conv.padding)


def test_a_convolution_called_by_itself_is_binarized() -> None:
    model = switched_on(small(), batch())
    conv = model.get_submodule("conv1")
    torch.testing.assert_close(conv(batch()), binarized_by_hand(model, "conv1", batch()))
    model.binarization.enable(activations=False, weights=False)
    plain = F.conv2d(
        batch(), model.get_parameter("conv1.weight"), model.get_parameter("conv1.bias"), padding=1
    )
    assert torch.equal(conv(batch()), plain)


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "regnetx_002", "resnetv2_50x1_bit", "mobilenetv3_small_050"]
)
def test_forward_features_of_timm_is_binarized(name: str) -> None:
    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=10)
    model: Any = fxbin.transform(original, TIMM)
    x = batch(size=64)
    for training in (True, False):
        original.train(training), model.train(training)
        states = []
        for either in (original, model):
            torch.manual_seed(0)
            states.append(either.forward_features(x))
        assert torch.equal(*states)
    switched_on(model, x)
    with torch.no_grad():
        assert torch.equal(model.forward_head(model.forward_features(x)), model(x))
        assert not torch.equal(model(x), original(x))


def test_training_through_a_part_trains_its_binarizers() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.backbone(x).mean((2, 3)))
            return y

    whole = small(Backbone())
    parts = copy.deepcopy(whole)
    for either in (whole, parts):
        either.binarization.enable(activations=True, weights=True)
    for seed in range(2):
        whole(batch(seed)).sum().backward()
        parts.head(parts.backbone(batch(seed)).mean((2, 3))).sum().backward()
    for (name, own), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=name)
    torch.testing.assert_close(whole.state_dict(), parts.state_dict())


class CallsTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x))
        return y


def test_convolution_with_several_call_sites_is_refused_outside_and_counted_inside() -> None:
    model = switched_on(small(CallsTwice()), batch())
    with pytest.raises(
        TransformError, match=r"conv: it was called outside of the model's forward.* each of 2 calls"
    ):
        layer(model, "conv")(batch())
    expected = model(batch())
    calls: list[Tensor] = []
    model.get_submodule("conv").register_forward_hook(lambda _m, _x, y: calls.append(y))
    assert torch.equal(model(batch()), expected)
    assert len(calls) == 2
    assert torch.equal(calls[1], expected)


class Functional(nn.Module):
    """Convolutions without modules of their own, one of them with a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.block = FunctionalBlock()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(F.conv2d(x, self.weight, padding=1))
        return y

    def features(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1)


class FunctionalBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True))
        return torch.conv2d(self.inner(x), self.weight)


class SecondCallInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return self.conv(y) if self.training else y


def test_call_that_training_alone_makes_stays_in_full_precision_in_the_graph() -> None:
    model = switched_on(small(SecondCallInTraining()), batch())
    first = model(batch())
    expected = F.conv2d(first, model.conv.weight, model.conv.bias, padding=1)
    torch.testing.assert_close(model.train()(batch()), expected)


def test_part_whose_convolutions_run_in_other_numbers_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = FunctionalBlock()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.block(self.block(x))
            return y

    model = switched_on(fxbin.transform(Twice(), config(1, 4, 12, 12)), torch.rand(2, 4, 12, 12))
    with pytest.raises(TransformError, match=r"block: it was called 2 times, but .* each of 4 calls"):
        layer(model, "block")(torch.rand(2, 4, 12, 12))


def test_convolutions_that_are_functions_are_binarized_in_the_own_code_too() -> None:
    model = switched_on(small(Functional()), batch())
    expected = model(batch())
    seen: list[Tensor] = []
    model.get_submodule("block").register_forward_hook(lambda _m, x, _y: seen.append(x[0]))
    assert torch.equal(model(batch()), expected)
    assert torch.equal(layer(model, "block")(seen[0]), expected)
    assert torch.equal(model.features(batch()), seen[0])


@pytest.mark.parametrize("path", ["conv1", "bn", "conv2", "fc"])
def test_hooks_are_called_with_the_values_of_the_graph_and_may_change_them(path: str) -> None:
    model = switched_on(small(), batch())
    expected = model(batch())
    called = model.get_submodule(path)
    seen: dict[str, Any] = {}
    handles = [
        called.register_forward_pre_hook(lambda _m, x: seen.update(x=x[0])),
        called.register_forward_hook(lambda _m, _x, y: seen.update(y=y)),
        called.register_full_backward_hook(lambda _m, _gx, gy: seen.update(gy=gy)),
    ]
    found = model(batch().requires_grad_())
    assert torch.equal(found, expected)
    found.sum().backward()
    assert seen["gy"][0].shape == seen["y"].shape
    for handle in handles:
        handle.remove()
    assert torch.equal(called(seen["x"]), seen["y"])
    with called.register_forward_hook(lambda _m, _x, y: 2 * y):
        assert not torch.equal(model(batch()), expected)
    assert torch.equal(model(batch()), expected)
    assert runs_a_graph(model)


def test_hook_of_the_whole_process_sees_each_layer() -> None:
    model = switched_on(small(), batch())
    expected, seen = model(batch()), []
    with nn.modules.module.register_module_forward_hook(lambda m, _x, _y: seen.append(m)):
        torch.testing.assert_close(model(batch()), expected)
    assert {model, *map(model.get_submodule, ["conv1", "bn", "conv2", "fc"])} <= {*seen}


class Reads(Small):
    temperature = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.act: Callable[[Tensor], Tensor] = F.relu
        self.twice, self.strides = False, [1, 1]
        self.bias: nn.Parameter | None
        self.register_parameter("bias", None)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x[..., :: self.strides[0], :: self.strides[1]])
        if self.twice:
            x = 2 * x
        if self.bias is not None:
            x = x + self.bias
        return super().forward(x) / self.temperature


CHANGES: dict[str, Callable[[Any], None]] = {
    "a number": lambda m: setattr(m, "temperature", 4.0),
    "a switch": lambda m: setattr(m, "twice", True),
    "a function": lambda m: setattr(m, "act", F.silu),
    "an item of a list": lambda m: m.strides.append(m.strides.pop() + 1),
    "a parameter that was None": lambda m: setattr(m, "bias", nn.Parameter(torch.ones(1))),
    "momentum": lambda m: setattr(m.bn, "momentum", 0.5),
    "stride": lambda m: setattr(m.conv1, "stride", (2, 2)),
    "padding": lambda m: setattr(m.conv1, "padding", (0, 0)),
    "dropout": lambda m: setattr(m.dropout, "p", 0.0),
    "a bias that was None": lambda m: setattr(m.conv2, "bias", nn.Parameter(torch.ones(8))),
    "another head": lambda m: setattr(m, "fc", nn.Linear(8, 3, bias=False, device="cpu")),
    "no norm": lambda m: setattr(m, "bn", nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_after_the_transform_counts(change: str) -> None:
    torch.manual_seed(0)
    model = Reads()
    binarized = fxbin.transform(model, SMALL)
    for either in (model, binarized):
        torch.manual_seed(1)
        CHANGES[change](either)
    assert_same_outputs(model, binarized, batch())
    copied = copy.deepcopy(binarized)
    assert_same_outputs(model, copied, batch())


def test_what_no_code_reads_changes_nothing() -> None:
    model = small(Reads())
    assert runs_a_graph(model)
    model.steps, model.epoch = 3, 4
    assert runs_a_graph(model)
    assert runs_a_graph(copy.deepcopy(model))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "regnetx_002"])
def test_statistics_of_batch_norm_are_made_anew_as_in_the_original(name: str) -> None:
    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=10)
    model: Any = fxbin.transform(original, TIMM)
    batches = [batch(seed, 64) for seed in range(3)]
    for either in (original, model):
        torch.manual_seed(0)
        update_bn(batches, either)
    state = model.state_dict()
    for key, value in original.state_dict().items():
        assert torch.equal(state[key], value), key
    assert [m.momentum for m in model.modules() if hasattr(m, "momentum")] == [
        m.momentum for m in original.modules() if hasattr(m, "momentum")
    ]


def test_drop_path_of_timm_is_switched_off_in_one_place() -> None:
    torch.manual_seed(0)
    original = timm.create_model("efficientnet_b0", drop_path_rate=0.5, num_classes=10)
    model: Any = fxbin.transform(original, TIMM)
    for either in (original, model):
        for module in either.modules():
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0
    assert_same_outputs(original, model, batch(size=64))


def test_binarized_layer_that_was_replaced_is_named_and_others_may_be() -> None:
    model = switched_on(small(), batch())
    model.fc = nn.Linear(8, 2)
    assert model(batch()).shape == (2, 2)
    model.conv1 = nn.Conv2d(3, 8, 3, padding=1)
    with pytest.raises(
        TransformError, match=r"conv1: it is binarized, and was replaced by Conv2d after.*ignored_scopes"
    ):
        model(batch())
    del model.conv1
    with pytest.raises(TransformError, match=r"conv1: it is binarized, and was removed after the transform"):
        model(batch())


def test_layer_that_is_wrapped_is_still_binarized() -> None:
    class Adapted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + 1  # type: ignore[no-any-return]

    model = switched_on(small(), batch())
    expected = layer(model, "conv1")(batch()) + 1
    model.conv1 = Adapted(model.get_submodule("conv1"))
    seen: list[Tensor] = []
    model.get_submodule("bn").register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    model(batch())
    assert torch.equal(seen[0], expected)


def test_head_of_timm_is_reset() -> None:
    torch.manual_seed(0)
    original = timm.create_model("resnet18", num_classes=10)
    model: Any = fxbin.transform(original, TIMM)
    for either in (original, model):
        torch.manual_seed(1)
        either.reset_classifier(4, "max")
    assert_same_outputs(original, model, batch(size=64))
    export = model.eval()(batch(size=64))
    assert export.shape == (2, 4)


def test_pruning_after_the_transform_prunes_what_is_binarized() -> None:
    model = switched_on(small(), batch())
    prune.l1_unstructured(model.get_submodule("conv1"), "weight", amount=0.5)
    for _ in range(2):
        model.train()(batch()).sum().backward()
    model.eval()
    mask = model.get_buffer("conv1.weight_mask")
    grad = model.get_parameter("conv1.weight_orig").grad
    assert grad is not None
    assert grad[mask == 0].abs().sum() == 0
    expected = binarized_by_hand(model, "conv1", batch())
    torch.testing.assert_close(layer(model, "conv1")(batch()), expected)
    found = model(batch())
    prune.remove(model.get_submodule("conv1"), "weight")
    assert torch.equal(model(batch()), found)


def test_pruning_before_the_transform_can_be_made_permanent() -> None:
    original = Small()
    prune.l1_unstructured(original.conv1, "weight", amount=0.5)
    model = fxbin.transform(original, SMALL)
    assert_same_outputs(original, model, batch())
    for either in (original, model):
        prune.remove(either.get_submodule("conv1"), "weight")
    assert_same_outputs(original, model, batch())


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w


def test_parametrization_after_the_transform_is_what_is_binarized() -> None:
    original = Small()
    model = fxbin.transform(original, SMALL)
    for either in (original, model):
        parametrize.register_parametrization(either.get_submodule("conv1"), "weight", Doubled())
    assert_same_outputs(original, model, batch())
    switched_on(model, batch())
    torch.testing.assert_close(layer(model, "conv1")(batch()), binarized_by_hand(model, "conv1", batch()))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
def test_old_weight_norm_before_or_after_the_transform() -> None:
    original = Small()
    nn.utils.weight_norm(original.conv1)
    model = fxbin.transform(original, SMALL)
    assert_same_outputs(original, model, batch())
    for either in (original, model):
        nn.utils.weight_norm(either.get_submodule("conv2"))
    for _ in range(2):
        assert_same_outputs(original, model, batch())
        for either in (original, model):
            with torch.no_grad():
                either.get_parameter("conv2.weight_g").mul_(1.5)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_batch_norm_is_synchronised_by_conversion(name: str) -> None:
    convert = timm.layers.convert_sync_batchnorm
    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=10)
    model = convert(fxbin.transform(original, TIMM))
    calls = []
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.register_forward_hook(lambda *_: calls.append(1))
    count = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    model.eval()(batch(size=64))
    assert len(calls) == count > 0
    assert torch.equal(model.eval()(batch(size=64)), original.eval()(batch(size=64)))


def test_forward_of_a_submodule_that_is_replaced_is_called() -> None:
    model = small()
    fc = model.get_submodule("fc")
    fc.forward = lambda x: x[:, :1]
    assert model(batch()).shape == (2, 1)
    block = small(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Flatten()))
    block.get_submodule("0").forward = lambda x: x[:, :1]
    assert block(batch()).shape == (2, 64)


def test_layers_appended_to_a_sequential_run() -> None:
    model = small(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert runs_a_graph(model)
    plain = model(batch())
    model.append(nn.Flatten())
    assert torch.equal(model(batch()), plain.flatten(1))


class Mode(nn.Module):
    """Called in three ways, as open-mmlab has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor | None = None, mode: str = "tensor") -> Any:
        logits = self.fc(self.conv(x).relu().mean((2, 3)))
        if mode == "loss":
            assert y is not None
            return {"loss": F.cross_entropy(logits, y)}
        return logits.argmax(1) if mode == "predict" else logits


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does
@pytest.mark.parametrize("compiled", [False, True])
def test_one_model_is_called_in_several_ways(compiled: bool) -> None:
    torch.manual_seed(0)
    model, y = small(Mode()), torch.tensor([0, 1])
    plain = model(batch())
    switched_on(model, batch())
    call: Any = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    logits = call(batch())
    assert not torch.equal(logits, plain)
    assert runs_a_graph(model)
    torch.testing.assert_close(call(batch(), y, mode="loss")["loss"], F.cross_entropy(logits, y))
    torch.testing.assert_close(call(batch(), y, "loss")["loss"], F.cross_entropy(logits, y))
    assert torch.equal(call(batch(), mode="predict"), logits.argmax(1))
    torch.testing.assert_close(call(batch()), logits)
    call(batch(), y, mode="loss")["loss"].backward()
    assert model.conv.activation_binarizer.scale.grad is not None


def test_copy_of_a_part_is_binarized_and_has_nothing_of_the_rest() -> None:
    model = switched_on(small(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 4, 3))), batch())
    part = copy.deepcopy(model[0])
    assert torch.equal(part(batch()), model[0](batch()))
    owner = vars(part[0])["forward"].__self__
    assert owner.module is part[0]
    assert {*map(id, part.modules())}.isdisjoint(map(id, model.modules()))
    assert not hasattr(owner, "callers")


class Optional(Small):
    """Asks for what it may not have, and calls methods of its own."""

    def forward(self, x: Tensor) -> Tensor:
        extra = getattr(self, "extra", None)
        return self.last(super().forward(x if extra is None else extra(x)))

    def last(self, x: Tensor) -> Tensor:
        return 2 * x


LATER: dict[str, Callable[[Any], None]] = {
    "an attribute that was not there": lambda m: setattr(m, "extra", F.relu),
    "a submodule that was not there": lambda m: setattr(m, "extra", nn.Tanh()),
    "a method put on the model": lambda m: setattr(m, "last", lambda x: 3 * x),
}


@pytest.mark.parametrize("change", LATER)
def test_what_comes_later_counts(change: str) -> None:
    torch.manual_seed(0)
    model = Optional()
    binarized = fxbin.transform(model, SMALL)
    assert runs_a_graph(binarized)
    for either in (model, binarized):
        LATER[change](either)
    assert_same_outputs(model, binarized, batch())


def test_method_of_a_class_that_is_replaced_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Optional()
    binarized = fxbin.transform(model, SMALL)
    monkeypatch.setattr(Optional, "last", lambda _, x: 5 * x)
    assert_same_outputs(model, binarized, batch())


def test_wrapped_layer_can_be_copied_and_trained_and_is_named_where_graphs_are_shown() -> None:
    model = switched_on(small(), batch())
    model.conv1 = nn.Sequential(model.conv1, nn.Identity())
    expected = model(batch())
    assert torch.equal(copy.deepcopy(model)(batch()), expected)
    fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for show in (fxbin.summary, fxbin.to_dot):
        with pytest.raises(TransformError, match=r"conv1 is binarized, and Sequential was put around it"):
            show(model)


def test_sequential_is_sliced_into_its_layers() -> None:
    model = switched_on(small(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))), batch())
    assert type(model[:2]) is nn.Sequential
    assert torch.equal(model[2](model[:2](batch())), model(batch()))


def test_model_in_a_model_is_not_transformed_again() -> None:
    with pytest.raises(TransformError, match=r"its submodule 0 has been transformed already"):
        fxbin.transform(nn.Sequential(small(), nn.Linear(5, 2)), SMALL)


def test_a_forward_put_on_a_layer_and_taken_off_again_leaves_it_binarized() -> None:
    model, x = switched_on(small(), batch()), batch()
    expected = model(x)
    model.conv1.forward = nn.Identity()
    del model.conv1.forward
    assert torch.equal(model(x), expected)
    del model.conv1.forward
    copied = copy.deepcopy(model)
    assert torch.equal(copied(x), expected)
    assert torch.equal(model(x), expected)


def test_hooks_that_were_there_before_may_be_taken_off() -> None:
    original = Small().eval()
    original.conv2.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    model: Any = fxbin.transform(original, SMALL).eval()
    x = batch()
    assert torch.equal(model(x), original(x))
    for either in (model, original):
        either.conv2._forward_hooks.clear()
    assert torch.equal(model(x), original(x))


def test_a_forward_that_the_class_of_the_model_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = switched_on(small(), batch()), batch()
    expected, forward = model(x), Small.forward
    monkeypatch.setattr(Small, "forward", lambda self, x: forward(self, x) + 1)
    assert torch.allclose(model(x), expected + 1)


@pytest.mark.parametrize("name", ["activation_binarizer", "weight_binarizer"])
def test_a_binarizer_that_is_removed_or_replaced_is_named(name: str) -> None:
    model, x = switched_on(small(), batch()), batch()
    expected, binarizer = model(x), getattr(model.conv1, name)
    setattr(model.conv1, name, nn.Identity())
    with pytest.raises(TransformError, match=rf"conv1\.{name}: the binarizer was removed.*sites="):
        model(x)
    delattr(model.conv1, name)
    with pytest.raises(TransformError, match=rf"conv1\.{name}: the binarizer was removed"):
        model(x)
    setattr(model.conv1, name, binarizer)
    assert torch.equal(model(x), expected)


def test_an_edit_of_the_graph_is_not_dropped_in_silence() -> None:
    model, x = switched_on(small(), batch()), batch()
    before = model(x)
    output = model.graph.output_node()
    with model.graph.inserting_before(output):
        output.args = (model.graph.call_function(torch.neg, (output.args[0],)),)
    model.recompile()
    for edited in (model, copy.deepcopy(model)):
        assert torch.equal(edited(x), -before)
        edited.conv1.register_forward_hook(lambda *_: None)
        with pytest.raises(TransformError, match="Small: its graph was edited after the transform"):
            edited(x)


def test_layers_of_another_transformed_model_are_refused() -> None:
    with pytest.raises(TransformError, match=r"0\.\w+_binarizer is a binarizer of another transformed model"):
        fxbin.transform(nn.Sequential(small().conv1, nn.Conv2d(4, 4, 3)), config(2, 3, 8, 8))


def test_another_binarizer_in_its_place_is_used() -> None:
    model, x = switched_on(small(), batch()), batch()
    expected = model(x)
    model.conv1.weight_binarizer = copy.deepcopy(model.conv1.weight_binarizer)
    assert torch.equal(model(x), expected)
    model.conv1.weight_binarizer.disable()
    assert not torch.equal(model(x), expected)
