"""Methods of a model's modules that call F.conv2d, called directly: binarized as in the whole model."""

import copy
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize, prune

import fxbin
from fxbin.errors import TransformError
from tests.test_own_code import batch, runs_a_graph, switched_on
from tests.transforming import SMALL


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.spare = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.image = nn.Parameter(torch.rand(1, 3, 8, 8))

    def features(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1)

    def by_a_function(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight)

    @staticmethod
    def static(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1)

    def twice(self, x: Tensor) -> Tensor:
        return self.features(x) + self.by_a_function(x)

    def without_gradients(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.detach(), padding=1)

    def of_another_weight(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.spare, padding=1)

    def of_a_kernel(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.mean((2, 3), keepdim=True))

    def of_a_changed_weight(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * 2, padding=1)

    @property
    def response(self) -> Tensor:
        return F.conv2d(self.image, self.weight, padding=1)

    @functools.cached_property
    def first_response(self) -> Tensor:
        return F.conv2d(self.image, self.weight, padding=1)


class Head(Base):
    """The methods are inherited."""

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).sin()


class Two(Base):
    """Two call sites with weights of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return self.of_another_weight(self.features(x).sin())


class Computed(Base):
    def features(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.tanh(), padding=1)

    def by_a_function(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight.tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).sin()


class Holds(nn.Module):
    """A model with a head, whose forward it calls."""

    def __init__(self, head: Base) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x)
        return y


class CallsMethod(Holds):
    """The call site belongs to the code of the model, the weight to the head."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head.features(x).sin()


def in_stage_one(model: Any, x: Tensor) -> Any:
    return switched_on(fxbin.transform(model, SMALL), x)


def by_hand(model: Any, place: str, x: Tensor, weight: Tensor) -> Tensor:
    """The convolution with the binarizers at `place`, as its formula has it."""
    s = model.get_parameter(f"{place}activation_binarizer.scale").exp()
    t = model.get_parameter(f"{place}activation_binarizer.threshold").sigmoid()
    w = torch.where(weight > 0, 1.0, -1.0) * weight.abs().mean((1, 2, 3), keepdim=True)
    return F.conv2d(torch.where(x > s * t, s, 0.0), w, padding=1)


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "the model itself": (Head, ""),
    "a submodule": (lambda: Holds(Head()), "head."),
    "two call sites": (lambda: Holds(Two()), "head."),
    "a computed weight": (lambda: Holds(Computed()), "head."),
    "called as a method": (lambda: CallsMethod(Head()), ""),
    "deep": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), Holds(Head())), "1.head."),
}


@pytest.fixture(params=MODELS)
def found(request: pytest.FixtureRequest) -> tuple[Any, Any, str]:
    torch.manual_seed(0)
    make, place = MODELS[request.param]
    model = in_stage_one(make(), batch())
    return model, next(module for module in model.modules() if isinstance(module, Base)), place


def expected(head: Any, model: Any, place: str, x: Tensor) -> Tensor:
    return by_hand(model, place, x, head.weight.tanh() if isinstance(head, Computed) else head.weight)


def test_methods_that_are_called_directly_are_binarized(found: tuple[Any, Any, str]) -> None:
    model, head, place = found
    x = batch(1)
    for way in (model, copy.deepcopy(model)):
        own = way.get_submodule(place.rstrip(".")) if isinstance(head, Base) and place else way
        own = own if isinstance(own, Base) else own.head
        torch.testing.assert_close(own.features(x), expected(own, way, place, x))
        torch.testing.assert_close(own.by_a_function(x), expected(own, way, place, x))
        kernel = own.weight.tanh() if isinstance(own, Computed) else own.weight
        torch.testing.assert_close(own.static(x, kernel), expected(own, way, place, x))
        assert torch.equal(Base.static(x, kernel), F.conv2d(x, kernel, padding=1))
        torch.testing.assert_close(own.twice(x), 2 * expected(own, way, place, x))
        assert runs_a_graph(way)


def test_properties_are_binarized(found: tuple[Any, Any, str]) -> None:
    model, head, place = found
    if isinstance(head, Computed):
        with pytest.raises(AssertionError):  # its formula is another one than the property has
            torch.testing.assert_close(head.response, expected(head, model, place, head.image))
        return
    for value in (head.response, head.first_response):
        torch.testing.assert_close(value, expected(head, model, place, head.image))
    assert head.first_response is head.first_response


def test_switched_off_methods_compute_what_those_of_the_original_do(found: tuple[Any, Any, str]) -> None:
    model, head, _ = found
    model.binarization.enable(activations=False, weights=False)
    weight = head.weight.tanh() if isinstance(head, Computed) else head.weight
    assert torch.equal(head.features(batch()), F.conv2d(batch(), weight, padding=1))


def test_methods_train_as_the_forward_does() -> None:
    torch.manual_seed(0)
    model = in_stage_one(Holds(Head()), batch()).train()
    grads = []
    for run in (model, lambda x: model.head.features(x).sin()):
        model.zero_grad()
        run(batch()).square().sum().backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*grads)
    assert len(grads[0]) == 3


@pytest.mark.parametrize("make", [Head, lambda: Holds(Head())])
def test_weights_that_have_no_call_site_stay_in_full_precision(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = in_stage_one(make(), batch())
    head = model if isinstance(model, Base) else model.head
    x = batch()
    assert torch.equal(head.of_another_weight(x), F.conv2d(x, head.spare, padding=1))
    kernel = head.weight.mean((2, 3), keepdim=True)
    assert torch.equal(head.of_a_kernel(x), F.conv2d(x, kernel))
    assert torch.equal(head.without_gradients(x), head.features(x))


@pytest.mark.parametrize("make", [Head, lambda: Holds(Head())])
def test_a_weight_that_may_be_that_of_a_call_site_is_refused(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = in_stage_one(make(), batch())
    head = model if isinstance(model, Base) else model.head
    with pytest.raises(
        TransformError,
        match=r"called outside of the model's forward.*\(3, 3, 3, 3\).*conv2d_0'.*Call the model",
    ):
        head.of_a_changed_weight(batch())


def test_one_weight_with_several_call_sites_is_refused_unless_the_method_runs_all() -> None:
    class Shares(Head):
        def part(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight, padding=1).sin()

        def whole(self, x: Tensor) -> Tensor:
            return F.conv2d(F.conv2d(x, self.weight, padding=1).sin(), self.weight, padding=1).sin()

        def forward(self, x: Tensor) -> Tensor:
            return self.part(self.part(x))

    torch.manual_seed(0)
    model = in_stage_one(Holds(Shares()), batch())
    assert torch.equal(model.head.whole(batch()), model(batch()))
    with pytest.raises(TransformError, match=r"head: it was called 1 times, but it has .* each of 2 calls"):
        model.head.part(batch())


def test_methods_follow_the_weight_that_tools_put_there() -> None:
    torch.manual_seed(0)
    x = batch()
    model = in_stage_one(Holds(Head()), x)
    prune.l1_unstructured(model.head, "weight", amount=0.5)
    torch.testing.assert_close(model.head.features(x), by_hand(model, "head.", x, model.head.weight))
    prune.remove(model.head, "weight")

    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    parametrize.register_parametrization(model.head, "weight", Halved())
    torch.testing.assert_close(model.head.features(x), by_hand(model, "head.", x, model.head.weight))
    torch.testing.assert_close(model(x), model.head.features(x).sin())


def test_methods_use_given_parameters() -> None:
    torch.manual_seed(0)
    model = in_stage_one(Holds(Head()), batch())

    class CallsFeatures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.model.head.features(x)
            return y

    weight = torch.randn(3, 3, 3, 3)
    found = functional_call(CallsFeatures(), {"model.head.weight": weight}, batch())
    torch.testing.assert_close(found, by_hand(model, "head.", batch(), weight))


def test_a_method_that_the_class_gets_later_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = in_stage_one(Holds(Head()), batch())
    before = model.head.features(batch())
    features = Base.features
    monkeypatch.setattr(Base, "features", lambda self, x: features(self, x) + 1)
    assert torch.equal(model.head.features(batch()), before + 1)
    assert torch.allclose(model(batch()), (before + 1).sin())


def test_the_class_is_still_the_same_to_users() -> None:
    torch.manual_seed(0)
    original = Holds(Head())
    model = in_stage_one(original, batch())
    assert isinstance(model.head, Head)
    assert repr(type(model.head)) == repr(Head)
    assert str(type(original.head)) == str(Head)
    assert type(original.head) is Head
    assert model.head.features.__doc__ == Head.features.__doc__
    file = io.BytesIO()
    torch.save(model.head, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded.features(batch()), model.head.features(batch()))
    alone: Any = copy.deepcopy(model.head)
    assert torch.equal(alone.features(batch()), model.head.features(batch()))
    alone.activation_binarizer.disable()
    assert not torch.equal(alone.features(batch()), model.head.features(batch()))


def test_classes_that_list_their_subclasses_do_not_hear_of_it() -> None:
    class Listed(Head):
        listed: ClassVar[list[str]] = []

        def __init_subclass__(cls, *, name: str) -> None:
            cls.listed.append(name)

    torch.manual_seed(0)
    model = in_stage_one(Holds(Listed()), batch())
    torch.testing.assert_close(
        model.head.features(batch()), by_hand(model, "head.", batch(), model.head.weight)
    )
    assert Listed.listed == []


def test_methods_in_code_that_is_kept_whole_are_as_ever() -> None:
    class Whole(Computed):
        """Its weight has the shape of that of a call site, but is another one."""

    class Beside(Holds):
        def __init__(self) -> None:
            super().__init__(Computed())
            self.whole = Whole()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.whole(self.head(x))
            return y

    torch.manual_seed(0)
    original = Beside()
    model = switched_on(fxbin.transform(original, SMALL, leaf_modules=[Whole]), batch())
    x = model.head(batch())
    assert torch.equal(model.whole.features(x), original.whole.features(x))
    assert torch.equal(model(batch()), original.whole(x))


def test_methods_in_a_hook_are_binarized_and_leave_the_forward_alone() -> None:
    torch.manual_seed(0)
    model = in_stage_one(Holds(Two()), batch())
    whole, features = model(batch()), model.head.features(batch())
    seen: list[Tensor] = []
    model.head.register_forward_hook(lambda module, x, _y: seen.append(module.features(x[0])))
    assert torch.equal(model(batch()), whole)
    assert torch.equal(seen[0], features)


def test_a_model_that_is_traced_anew_contains_its_methods() -> None:
    class ReadsMode(Head):
        def forward(self, x: Tensor) -> Tensor:
            return self.features(x) * (2 if self.training else 1)

    torch.manual_seed(0)
    model = in_stage_one(nn.Sequential(Holds(ReadsMode()), Holds(ReadsMode())), batch())
    model[0].head.train()
    expected = model[1].head.features(2 * model[0].head.features(batch()))
    assert torch.equal(model(batch()), expected)
    assert runs_a_graph(model)
    assert torch.equal(model[0].head.features(batch()) * 2, model[0](batch()))


@pytest.fixture
def eager_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


# Dynamo itself makes the object it warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("eager_compiler")
@pytest.mark.parametrize("make", [Head, lambda: Holds(Head())])
def test_methods_compile(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = in_stage_one(make(), batch())
    head = model if isinstance(model, Base) else model.head
    compiled = torch.compile(head.features, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch()), head.features(batch()))


# Dynamo itself makes the object it warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("eager_compiler")
def test_own_code_of_a_submodule_compiles() -> None:
    class Scaled(Two):
        factor = 1.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor

    torch.manual_seed(0)
    model = in_stage_one(nn.Sequential(Scaled()), batch())
    model[0].factor = 2.0
    assert not runs_a_graph(model)
    compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch()), model(batch()))
