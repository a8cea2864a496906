"""Code that asks about gradients, settings of torch and its inputs gets the answers of the original."""

import copy
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, overrides

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.transforming import config

Region = Callable[[], AbstractContextManager[Any]]
Question = Callable[[Any, Tensor, Tensor], object]


class Asks(nn.Module):
    """A module that gives three times as much if the answer to `question` is yes."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)
        self.question = question

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.question(self, x, y):
            y = y * 3
        z: Tensor = self.fc(y.mean((2, 3)))
        return z


class Inside(nn.Module):
    """A model around another."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x) + 1
        return y


def batch(*, requires_grad: bool = False) -> Tensor:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    return x.requires_grad_(requires_grad)


def made(question: Question) -> tuple[Asks, Any]:
    torch.manual_seed(0)
    model = Asks(question)
    return model, fxbin.transform(model, config(2, 3, 8, 8))


@contextmanager
def restored(change: Callable[[Any], Any], now: Any, before: Any) -> Iterator[None]:
    change(now)
    try:
        yield
    finally:
        change(before)


def autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


SETTINGS: dict[str, tuple[Question, Region]] = {
    "gradient mode": (lambda *_: torch.is_grad_enabled(), torch.no_grad),
    "a computed tensor learns": (lambda _s, _x, y: y.requires_grad, torch.no_grad),
    "has a history": (lambda _s, _x, y: y.grad_fn is not None, torch.no_grad),
    "is a leaf": (lambda _s, _x, y: y.is_leaf, torch.no_grad),
    "autocast": (lambda *_: torch.is_autocast_enabled("cpu"), autocast),
    "autocast of any device": (lambda *_: torch.get_autocast_dtype("cpu") is torch.float16,
        lambda: torch.autocast("cpu", dtype=torch.float16)),
    "inference mode": (lambda *_: torch.is_inference_mode_enabled(), torch.inference_mode),
    "anomaly detection": (lambda *_: torch.is_anomaly_enabled(), torch.autograd.detect_anomaly),
    "threads": (lambda *_: torch.get_num_threads() == 3,
        lambda: restored(torch.set_num_threads, 3, torch.get_num_threads())),
    "default dtype": (lambda *_: torch.get_default_dtype() is torch.float64,
        lambda: restored(torch.set_default_dtype, torch.float64, torch.float32)),
    "deterministic": (lambda *_: torch.are_deterministic_algorithms_enabled(),
        lambda: restored(torch.use_deterministic_algorithms, True, False)),
    "oneDNN": (lambda *_: torch.backends.mkldnn.enabled,
        lambda: restored(lambda on: setattr(torch.backends.mkldnn, "enabled", on), False, True)),
    "cuDNN": (lambda *_: torch.backends.cudnn.benchmark,
        lambda: restored(lambda on: setattr(torch.backends.cudnn, "benchmark", on), True, False)),
}  # fmt: skip


def assert_same(model: nn.Module, binarized: nn.Module, x: Tensor) -> None:
    torch.testing.assert_close(binarized(x), model(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_torch_are_those_of_the_call(name: str, training: bool) -> None:
    question, region = SETTINGS[name]
    model, binarized = made(question)
    model.train(training)
    binarized.train(training)
    answers = set()
    for entered in (nullcontext, region, nullcontext, torch.no_grad):
        with entered():
            assert_same(model, binarized, batch())
            answers.add(bool(question(model, batch(), model.conv(batch()))))
    assert len(answers) == 2
    with torch.set_grad_enabled(training):
        assert runs_a_graph(binarized, batch())
    assert not binarized.specialisations


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo asks for it
@pytest.mark.parametrize("name", ["gradient mode", "a computed tensor learns", "autocast", "inference mode"])
@pytest.mark.parametrize("around", [lambda model: model, Inside], ids=["itself", "inside"])
def test_settings_are_those_of_the_call_when_compiled(name: str, around: Callable[..., Any]) -> None:
    question, region = SETTINGS[name]
    model, binarized = made(question)
    expected = around(model)
    compiled: Any = torch.compile(around(binarized), backend="eager")
    for entered in (nullcontext, region, nullcontext):
        with entered():
            torch.testing.assert_close(compiled(batch()), expected(batch()), rtol=0, atol=0)


INPUTS: dict[str, tuple[Question, Callable[[], Tensor]]] = {
    "learns": (lambda _s, x, _y: x.requires_grad, lambda: batch(requires_grad=True)),
    "is a leaf": (lambda _s, x, _y: x.is_leaf, lambda: batch(requires_grad=True) * 1),
    "has a history": (lambda _s, x, _y: x.grad_fn is None, lambda: batch(requires_grad=True) * 1),
    "has a mark": (lambda _s, x, _y: hasattr(x, "mark"), lambda: marked(batch())),
    "has a certain mark": (lambda _s, x, _y: getattr(x, "mark", 0) > 1, lambda: marked(batch())),
    "is a plain tensor": (lambda _s, x, _y: type(x) is Tensor, lambda: batch().as_subclass(Special)),
    "has any mark": (lambda _s, x, _y: vars(x), lambda: marked(batch())),
}


class Special(Tensor):
    """A tensor of another class."""


def marked(x: Tensor) -> Tensor:
    vars(x)["mark"] = 2
    return x


@pytest.mark.parametrize("name", INPUTS)
def test_questions_about_an_input_are_answered_for_each_call(name: str) -> None:
    question, other = INPUTS[name]
    model, binarized = made(question)
    assert bool(question(model, batch(), batch())) is not bool(question(model, other(), batch()))
    for make in (batch, other, batch):
        assert_same(model, binarized, make())
    like_other = fxbin.transform(model, config(2, 3, 8, 8), (other(),))
    for make in (batch, other):
        assert_same(model, like_other, make())
    assert runs_a_graph(like_other, other())
    assert not runs_a_graph(like_other, batch())


def runs_a_graph(model: BinarizedModule, x: Tensor) -> bool:
    return model.graph_for((x,), {}) is not None


FROZEN: dict[str, Question] = {
    "weight": lambda s, _x, _y: s.conv.weight.requires_grad,
    "any parameter": lambda s, _x, _y: any(p.requires_grad for p in s.conv.parameters()),
    "all parameters": lambda s, _x, _y: all(p.requires_grad for p in s.parameters()),
    "what comes out": lambda _s, _x, y: y.requires_grad,
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", FROZEN)
def test_layers_may_be_frozen_after_the_transform(name: str, training: bool) -> None:
    model, binarized = made(FROZEN[name])
    model.train(training)
    binarized.train(training)
    compiled = torch.compile(Inside(binarized), backend="eager")
    for learns in (True, False, True):
        model.conv.requires_grad_(learns)
        binarized.conv.requires_grad_(learns)
        assert_same(model, binarized, batch())
        if not (torch.__version__.startswith("2.9.") and name == "what comes out"):  # see living_with_it.md
            torch.testing.assert_close(compiled(batch()), model(batch()) + 1, rtol=0, atol=0)


class Watched(nn.Module):
    """A model that keeps the gradient of its features, as Grad-CAM does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        if features.requires_grad:
            features.register_hook(self.seen.append)
        if not torch.is_grad_enabled():
            features = features.detach()
        y: Tensor = self.fc(features.mean((2, 3)))
        return y


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_hooks_that_need_gradients_are_set_in_eval_mode_too(training: bool) -> None:
    torch.manual_seed(0)
    model = Watched()
    binarized: Any = fxbin.transform(model, config(2, 3, 8, 8))
    for each in (model, binarized):
        each.train(training)(batch()).square().sum().backward()
    assert len(model.seen) == len(binarized.seen) == 1
    assert torch.equal(binarized.seen[0], model.seen[0])
    torch.testing.assert_close(binarized.conv.weight.grad, model.conv.weight.grad, rtol=0, atol=0)


ABOUT_TENSORS: dict[str, Callable[[Tensor], object]] = {
    "x.__class__": lambda x: x.__class__ is Tensor,
    "its name": lambda x: x.__class__.__name__ == "Tensor",
    "isinstance": lambda x: not isinstance(x, nn.Parameter | list),
    "is_meta": lambda x: x.is_meta,
    "__dict__": lambda x: x.__dict__ == {},
    "vars": lambda x: vars(x) == {},
    "has_torch_function": lambda x: overrides.has_torch_function((x,)),
    "has_torch_function_unary": lambda x: overrides.has_torch_function_unary(x),  # noqa: PLW0108  (looked up late)
    "has_torch_function_variadic": lambda x: overrides.has_torch_function_variadic(x, x),
    "type()": lambda x: x.type() == "torch.FloatTensor",
    "typename": lambda x: torch.typename(x) == "torch.FloatTensor",
    "is_set_to": lambda x: x.is_set_to(x),
}


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "given"])
@pytest.mark.parametrize("name", ABOUT_TENSORS)
def test_questions_about_what_a_tensor_is_are_answered(name: str, computed: bool) -> None:
    ask = ABOUT_TENSORS[name]
    model, binarized = made(lambda _s, x, y: ask(y if computed else x))
    for training in (True, False):
        model.train(training)
        binarized.train(training)
        assert_same(model, binarized, batch())
    with torch.no_grad():
        assert runs_a_graph(binarized.eval(), batch())


def test_a_parameter_says_that_it_is_one() -> None:
    model, binarized = made(lambda s, _x, _y: s.conv.weight.__class__ is nn.Parameter)
    assert_same(model, binarized, batch())


def test_code_that_enters_a_region_itself_runs_as_a_graph() -> None:
    def inside(*_: Any) -> bool:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            return torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()

    model, binarized = made(inside)
    assert_same(model, binarized, batch())
    assert runs_a_graph(binarized.eval(), batch())
    with torch.no_grad():
        assert runs_a_graph(binarized, batch())


def test_a_model_that_asks_nothing_runs_its_graph_in_any_state() -> None:
    binarized = made(lambda *_: False)[1].eval()
    for region in (nullcontext, torch.no_grad, torch.inference_mode, autocast):
        with region():
            assert runs_a_graph(binarized, batch())
    assert not binarized._graph_choice.variants[0].questions


CODE = """
import torch
from torch import is_grad_enabled as learning, is_autocast_enabled, nn
from torch.overrides import has_torch_function_unary

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        if type(x) is torch.Tensor:
            x = x - 0.5
        if learning():
            x = x * 2
        if is_autocast_enabled("cpu"):
            x = x * 3
        if has_torch_function_unary(x):
            x = x * 5
        return self.conv(x)
"""


@pytest.mark.parametrize("is_known", [True, False], ids=["in sys.modules", "not in sys.modules"])
def test_code_may_be_loaded_in_any_way_and_import_questions_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    (tmp_path / "hubconf_of_asked.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location("hubconf_of_asked", tmp_path / "hubconf_of_asked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # as torch.hub does, without an entry in sys.modules
    if is_known:
        monkeypatch.setitem(sys.modules, "hubconf_of_asked", module)
    before = dict(vars(module))
    torch.manual_seed(0)
    model = module.Net().eval()
    binarized = fxbin.transform(model, config(2, 3, 8, 8)).eval()
    for region in (nullcontext, torch.no_grad, autocast):
        with region():
            assert_same(model, binarized, batch())
    assert vars(module) == before


def test_a_part_of_a_model_answers_for_itself() -> None:
    class Loops(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.inner(image[None]) for image in x if image.sum() > 0])

    torch.manual_seed(0)
    model = Loops(Asks(lambda _s, x, y: y.requires_grad and not x.requires_grad))
    binarized = fxbin.transform(model, config(2, 3, 8, 8))
    assert list(binarized.traced_parts) == ["inner"]
    for training in (True, False):
        model.train(training)
        binarized.train(training)
        for entered in (nullcontext, torch.no_grad):
            with entered():
                assert_same(model, binarized, batch())
                assert_same(model, binarized, batch(requires_grad=True))


def test_copies_compare_their_own_tensors() -> None:
    model, binarized = made(FROZEN["weight"])
    copied = copy.deepcopy(binarized)
    copied.conv.requires_grad_(False)
    assert_same(model, binarized, batch())
    model.conv.requires_grad_(False)
    assert_same(model, copied, batch())
    assert not runs_a_graph(copied, batch())
    assert runs_a_graph(binarized, batch())


@pytest.mark.filterwarnings("ignore:1 of 1 selected call sites are not fully binarized")
def test_a_graph_can_be_exported_whatever_the_code_asks(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, binarized = made(lambda _s, _x, y: y.requires_grad)
    fxbin.export_onnx(binarized.eval(), tmp_path / "asked.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "asked.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: batch().detach().numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), model.eval()(batch()), rtol=1e-5, atol=1e-5)
