"""Private names and texts of messages that fxbin relies on: each is there, and there are no others."""

import ast
import json
import pickle
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Literal

import json5
import pytest
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ValidationError
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.nn.parallel import DistributedDataParallel
from torch.utils import checkpoint

from fxbin import torch_private
from fxbin.torch_private import ATTRIBUTES, INHERITED, NAMED, NAMES, REPLACED, Private
from tests import torch_surface
from tests.lower_bounds import lower_bounds

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("fxbin", "passes") for path in (ROOT / folder).rglob("*.py")
    if "fxbin/passes" not in path.as_posix()
)  # fmt: skip


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def _doubled() -> Any:
    return _Double.apply(torch.ones(1, requires_grad=True)).grad_fn  # type: ignore[no-untyped-call]


def _ignored() -> nn.Module:
    """A module on which DistributedDataParallel has set what it looks for."""
    module = nn.Module()
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, ["a"])
    return module


def _checkpointed() -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    wrapper: nn.Module = checkpoint_wrapper(nn.Identity())
    return wrapper


def _parameter_like() -> Tensor:
    tensor: Any = torch.ones(1)
    tensor._is_param = True
    assert isinstance(tensor, nn.Parameter)
    return tensor


OBJECTS: dict[str, Callable[[], Any]] = {
    "torch:Tensor": lambda: torch.ones(1),
    "torch:autocast": lambda: torch.autocast("cpu"),
    "torch._ops:OpOverload": lambda: torch.ops.aten.relu_.default,
    "torch.nn:Module": nn.Module,
    "torch.nn:Conv2d": lambda: nn.Conv2d(1, 1, 3),
    "torch.nn:Parameter": _parameter_like,
    "torch.fx:Node": lambda: fx.Graph().placeholder("x"),
    "torch.fx:GraphModule": lambda: fx.GraphModule(nn.Module(), fx.Graph()),
    "torch.compiler": lambda: torch.compiler,
    "torch.autograd.forward_ad": lambda: forward_ad,
    "torch.compiler:assume_constant_result": lambda: torch.compiler.assume_constant_result(lambda: None),
    "torch.autograd:Function": lambda: _Double,
    "torch.autograd:Function._backward_cls": _doubled,
    "torch.nn.parallel:DistributedDataParallel": _ignored,
    "torch._dynamo.eval_frame:OptimizedModule": lambda: torch.compile(nn.Identity()),
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper:CheckpointWrapper": _checkpointed,
}
"""One object of each kind that has a private attribute."""

OF_OBJECTS = [*ATTRIBUTES.values(), *NAMED.values(), *INHERITED]


def _listed(tables: list[Private]) -> list[Any]:
    found = {(each.home, name): None for each in tables for name in each.names.split()}
    return [pytest.param(home, name, id=f"{home}.{name}") for home, name in found]


@pytest.mark.parametrize(("home", "name"), _listed([*REPLACED.values()]))
def test_module_has(home: str, name: str) -> None:
    assert name in vars(resolve_name(home))


@pytest.mark.parametrize(("home", "name"), _listed(OF_OBJECTS))
def test_object_has(home: str, name: str) -> None:
    assert hasattr(OBJECTS[home](), name)


def test_surface_of_the_oldest_torch_is_recorded() -> None:
    recorded = {"torch==" + path.stem.removesuffix(".0") for path in torch_surface.FOLDER.iterdir()}
    assert recorded & {*lower_bounds()}
    assert len(recorded) > 1  # and a newer one


@pytest.mark.parametrize("record", sorted(torch_surface.FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_oldest_and_newest_torch_have_every_name(record: Path) -> None:
    """Without these versions. After `make test-oldest` and `make test-newest`, the records are up to date."""
    lacking = torch_surface.needed().keys() - {*record.read_text().split()}
    assert not lacking, f"torch {record.stem} lacks them, or was not asked: make test-oldest test-newest"


def _transformed(check: Callable[[Tensor], Any]) -> bool:
    """Whether `check` holds inside of a transform of `torch.func`."""
    found = []

    def function(x: Tensor) -> Tensor:
        found.append(bool(check(x)))
        return x.sum()

    torch.func.grad(function)(torch.ones(2))
    return found == [True]


def _is_innermost_gradient(_: Tensor) -> bool:
    return bool(torch_private.interpreter_stack()[-1].key() == torch_private.TransformType.Grad)


def _reads_plainly(x: Tensor) -> bool:
    with torch_private.WithoutTransforms():
        return not torch_private.is_wrapped(torch.ones(1) * 2)


def _is_traced() -> bool:
    seen = []

    def function(x: Tensor) -> Tensor:
        state = torch_private.tracing_state()
        torch_private.set_tracing_state(None)
        seen.append((state is not None, torch_private.tracing_state()))
        torch_private.set_tracing_state(state)
        return x + 1

    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(function, torch.ones(1), check_trace=False)
    return seen == [(True, None)] and torch_private.tracing_state() is None


class _Counting(torch_private.TorchDispatchMode):
    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _profiler_is_seen() -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        inside = torch_private.is_profiled()
    return inside and not torch_private.is_profiled()


def _dispatch_modes_are_seen() -> bool:
    with _Counting() as mode:  # type: ignore[no-untyped-call]
        torch.ones(1).neg()
        inside, counted = torch_private.count_dispatch_modes(), mode.count
        with torch_private.without_dispatch_modes():
            torch.ones(1).neg()
    return (
        bool(counted) and mode.count == counted and (inside, torch_private.count_dispatch_modes()) == (1, 0)
    )


class _Refusing(Tensor):
    @classmethod
    def __torch_function__(cls, *_: Any, **__: Any) -> Any:
        raise AssertionError


def _torch_function_is_off() -> bool:
    x = torch.ones(1).as_subclass(_Refusing)
    with torch_private.WithoutTorchFunction():
        return x.neg().shape == (1,)


def _functions_are_seen() -> bool:
    seen = []

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, x: Tensor) -> Tensor:
            seen.append(torch_private.has_forward_gradients())
            return x * 2

    Function.apply(torch.ones(1, requires_grad=True))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        seen.append(torch_private.has_forward_gradients())
    return seen == [False, True]


def _backward_is_seen() -> bool:
    seen = []

    def hook(grad: Tensor) -> None:
        seen.append(torch_private.graph_task_id())
        torch_private.queue_callback(lambda: seen.append("over"))

    x = torch.ones(1, requires_grad=True)
    x.register_hook(hook)
    (2 * x).backward()
    return len(seen) == 2 and seen[0] != -1 and seen[1] == "over" and torch_private.graph_task_id() == -1


def _frames_repeat() -> bool:
    """A checkpoint makes a frame with the function that it repeats in the backward."""
    found: list[str] = []

    class Frame(torch_private.CheckpointFrame):  # type: ignore[misc]
        def __init__(self, recompute_fn: Any, *args: Any) -> None:
            def repeat(*given: Any) -> None:
                found.append("repeated")
                recompute_fn(*given)

            super().__init__(repeat, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_CheckpointFrame", Frame)
        x = torch.ones(1, requires_grad=True)
        checkpoint.checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
    return found == ["repeated"]


def _region_is_switched() -> bool:
    region = torch_private.enter_autocast("cpu", torch.bfloat16, True, None)
    inside = torch.is_autocast_enabled("cpu")
    torch_private.exit_autocast(region)
    return inside and not torch.is_autocast_enabled("cpu")


def _refuses_false() -> bool:
    with pytest.raises(RuntimeError):
        torch_private.check_tensor_all(torch.zeros(1) > 0)
    return True


def _global_hook_is_seen() -> bool:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    inside = bool(torch_private.has_any_global_hook())
    handle.remove()
    return inside and not torch_private.has_any_global_hook()


def _runs_as_it_is() -> bool:
    """A function that is hidden from compilers sees that one is at work."""
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(torch_private.compiler_callback() not in (None, False))
        return x

    torch_private.compiler_callback()
    action = torch_private.CodeAction
    torch_private.set_code_strategy(
        function.__code__, torch_private.CodeStrategy(action.SKIP, action.DEFAULT)
    )
    torch.compile(function, backend="eager")(torch.ones(1))
    return seen == [True] and torch_private.compiler_callback() in (None, False)


def _pickles_by_methods() -> bool:
    return "save" in vars(torch_private.PythonPickler) and "save" not in vars(pickle.Pickler)


def _arranges_a_weight() -> bool:
    x, weight, geometry = torch.randn(1, 4, 5, 5), torch.randn(4, 4, 1, 1), ((0, 0), (1, 1), (1, 1), 1)
    arranged = torch_private.arranged_weight(weight, *geometry, list(x.shape))
    y = torch_private.arranged_conv2d(x, arranged, None, *geometry, "none", [], "")
    return torch.allclose(y, nn.functional.conv2d(x, weight), atol=1e-5)


CHECKS: dict[str, Callable[[], object]] = {
    "has_transforms": lambda: (
        _transformed(lambda _: torch_private.has_transforms()) and not torch_private.has_transforms()
    ),
    "interpreter_stack": lambda: _transformed(_is_innermost_gradient),
    "TransformType": lambda: _transformed(_is_innermost_gradient),
    "is_wrapped": lambda: _transformed(lambda x: torch_private.is_wrapped(x) is True),
    "unwrapped": lambda: _transformed(lambda x: not torch_private.is_wrapped(torch_private.unwrapped(x))),
    "WithoutTransforms": lambda: _transformed(_reads_plainly),
    "tracing_state": _is_traced,
    "set_tracing_state": _is_traced,
    "count_dispatch_modes": _dispatch_modes_are_seen,
    "without_dispatch_modes": _dispatch_modes_are_seen,
    "is_profiled": _profiler_is_seen,
    "TorchDispatchMode": _dispatch_modes_are_seen,
    "WithoutTorchFunction": _torch_function_is_off,
    "has_forward_gradients": _functions_are_seen,
    "graph_task_id": _backward_is_seen,
    "queue_callback": _backward_is_seen,
    "CheckpointFrame": _frames_repeat,
    "compiler_callback": _runs_as_it_is,
    "set_code_strategy": _runs_as_it_is,
    "CodeStrategy": _runs_as_it_is,
    "CodeAction": _runs_as_it_is,
    "enter_autocast": _region_is_switched,
    "exit_autocast": _region_is_switched,
    "has_any_global_hook": _global_hook_is_seen,
    "ConvNd": lambda: isinstance(nn.ConvTranspose3d(1, 1, 1), torch_private.ConvNd),
    "BatchNorm": lambda: isinstance(nn.SyncBatchNorm(1), torch_private.BatchNorm),
    "check_tensor_all": _refuses_false,
    "OperatorNames": lambda: {"conv2d", "relu", "cat"} <= {*dir(torch_private.OperatorNames)},
    "arranged_weight": _arranges_a_weight,
    "arranged_conv2d": _arranges_a_weight,
    "has_vnni": lambda: torch_private.has_vnni() in (True, False),
    "foreach_norm": lambda: torch_private.foreach_norm([torch.tensor([3.0, 4.0])])[0] == 5,
    "pytree": lambda: torch_private.pytree.tree_leaves({"b": 1, "a": (2, 3)}) == [1, 2, 3],
    "PythonPickler": _pickles_by_methods,
    "pytorchcv_models": lambda: "resnet10" in torch_private.pytorchcv_models,
}


@pytest.mark.parametrize("key", NAMES)
def test_name_does_what_it_is_for(key: str) -> None:
    if key == "pytorchcv_models":
        pytest.importorskip("pytorchcv")
    NAMES[key].find()
    assert CHECKS[key]()


def test_attribute_does_what_it_is_for() -> None:
    x = torch.ones(1)
    before = torch_private.version(x)
    assert torch_private.version(x.add_(1)) == before + 1
    writes = [argument.is_write for argument in torch_private.schema(torch.ops.aten.relu_.default).arguments]
    assert writes == [True]
    conv = nn.Conv2d(1, 1, (3, 5), padding=(1, 2), padding_mode="circular")
    assert list(torch_private.padding_amounts(conv)) == [2, 2, 1, 1]
    assert torch_private.conv_forward(conv).__func__ is torch_private.conv_forward(nn.Conv2d)
    assert torch_private.dual_level(forward_ad) == -1
    with forward_ad.dual_level():
        assert torch_private.dual_level(forward_ad) == 0
    assert torch_private.plain_call(nn.Identity())(x) is x
    assert torch_private.autocast_options(torch.autocast("cpu", torch.float16, False, False)) == (
        "cpu", torch.float16, False, False
    )  # fmt: skip
    node = fx.Graph().call_function(F.relu)
    assert torch_private.target_name(node)(node.target) == "torch.nn.functional.relu"
    assert (torch_private.parameters(conv).keys(), torch_private.buffers(conv)) == ({"weight", "bias"}, {})
    assert [*torch_private.modules(nn.Sequential(conv))] == ["0"]


def test_each_kind_of_hook_is_seen() -> None:
    module = nn.Identity()
    hooks: list[Any] = [
        module.register_forward_hook, module.register_forward_pre_hook, module.register_full_backward_hook,
        module.register_full_backward_pre_hook,
    ]  # fmt: skip
    for count, register in enumerate(hooks, 1):
        register(lambda *_: None)
        assert sum(map(bool, torch_private.called_hooks(module))) == count
    for name, hooks_of_kind in zip(
        torch_private.CALLED_HOOKS, torch_private.called_hooks(module), strict=True
    ):
        assert vars(module)[name] is hooks_of_kind
    assert all(torch_private.forward_hooks(module))
    assert all(torch_private.backward_hooks(module))


def test_code_compiled_by_torch_is_called_first() -> None:
    module = nn.Identity()
    vars(module)[torch_private.COMPILED_CALL] = lambda x: "compiled"
    assert module(1) == "compiled"


def test_grad_fn_knows_its_class() -> None:
    assert getattr(_doubled(), torch_private.FORWARD_CLASS) is _Double
    assert type(_doubled()) is getattr(_Double, torch_private.BACKWARD_CLASS)


def test_apply_does_without_names() -> None:
    # What `super().apply` is in `fxbin.binarizers.straight_through`: the one below `Function`.
    x = torch.ones(1, requires_grad=True)
    y = super(torch.autograd.Function, _Double).apply(x)  # type: ignore[no-untyped-call]
    assert type(y.grad_fn) is type(_doubled())


def test_tensors_of_parameters_class_call_no_torch_function() -> None:
    class Plain(Tensor):
        __torch_function__ = nn.Parameter.__torch_function__

    assert not torch.overrides.has_torch_function([torch.ones(1).as_subclass(Plain)])


def test_wrappers_have_the_classes_by_name() -> None:
    compiled: Any = torch.compile(nn.Identity())
    assert f"{type(compiled).__module__}.{type(compiled).__qualname__}" == torch_private.COMPILED_MODEL
    assert compiled.__class__.__module__.startswith(torch_private.COMPILER)


@pytest.mark.parametrize("path", torch_private.FABRIC_MODELS)
def test_lightning_has_the_class_by_name(path: str) -> None:
    module, _, name = path.rpartition(".")
    pytest.importorskip(module.partition(".")[0])
    assert isinstance(resolve_name(f"{module}:{name}"), type)


def test_missing_name_is_named() -> None:
    missing = Private("torch._C", "_gone", "to test this", "nothing")
    with pytest.raises(
        AttributeError, match=r"torch 2\.\S+ has no torch\._C\._gone, .* to test this: install"
    ):
        missing.find()
    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        torch_private.gone  # noqa: B018


AT_IMPORT = {"TorchDispatchMode", "PythonPickler"}
"""Classes of fxbin are derived from these."""


def test_import_looks_up_no_other_name() -> None:
    code = (
        "import json, fxbin; from fxbin import torch_private as t;"
        "print(json.dumps([name for name in t.NAMES if name in vars(t)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {*json.loads(done.stdout)} <= AT_IMPORT


# Messages. Each is what a library says now.


def _load_damaged(tmp_path: Path) -> str:
    path = tmp_path / "damaged.pt"
    torch.save({"x": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(RuntimeError) as raised:
        torch.load(path, weights_only=True)
    return str(raised.value)


def test_load_guesses(tmp_path: Path) -> None:
    found, guess, _ = _load_damaged(tmp_path).partition(torch_private.LOAD_GUESS)
    assert found
    assert guess or "internal" not in found  # torch 2.9 has no guess


def test_load_names_what_is_forbidden(tmp_path: Path) -> None:
    torch.save({"x": random.Random(1)}, tmp_path / "file.pt")
    with pytest.raises(pickle.UnpicklingError) as raised:
        torch.load(tmp_path / "file.pt", weights_only=True)
    assert re.findall(torch_private.FORBIDDEN_GLOBAL, str(raised.value)) == ["random.Random"]


def test_operator_without_meta_kernel_is_named() -> None:
    with pytest.raises(NotImplementedError) as raised:
        torch.bincount(torch.ones(3, dtype=torch.long, device="meta"))
    assert "meta" in str(raised.value).lower()
    found = re.search(torch_private.META_KERNEL, str(raised.value))
    assert found
    assert found.groups() == ("aten", "bincount")


class _Returns(nn.Module):
    def __init__(self, rest: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.rest = rest

    def forward(self, x: Tensor) -> Any:
        return x + 1, self.rest(x)


def _exported(module: nn.Module) -> Any:
    pytest.importorskip("onnxscript")
    x = torch.ones(2, 3)
    return torch.onnx.export(module.eval(), (x,), dynamo=True, verbose=False, opset_version=18)


@pytest.mark.filterwarnings("ignore")
def test_exporter_says_that_a_number_is_returned() -> None:
    with pytest.raises(torch.onnx.errors.OnnxExporterError) as raised:
        _exported(_Returns(lambda x: x.shape[0] * 2))
    assert torch_private.NUMBER_RETURNED in str(raised.value.__cause__ or raised.value)


def test_exporter_notes_nodes_and_warns_of_leaf_specs_only() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        nodes = [*_exported(_Returns(lambda x: x * 2)).model.graph]
    notes = [node.metadata_props[torch_private.FX_NODE].partition(" ")[0] for node in nodes]
    assert notes == ["%add", "%mul"]
    future = [str(each.message) for each in told if each.category is FutureWarning]
    assert all(re.match(torch_private.LEAF_SPEC, text) for text in future)


DDP_WITH_OTHER_STRIDES = """
import sys, torch
from torch import distributed, nn

class Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        return w.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.as_strided(grad.shape, (9, 1, 3, 1))

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1, 3, 3))

    def forward(self, x):
        return (Strided.apply(self.weight) * x).sum()

distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
model = nn.parallel.DistributedDataParallel(Layer())
for _ in range(2):
    model(torch.ones(1, 1, 3, 3)).backward()
"""


def test_ddp_warns_of_strides(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DDP_WITH_OTHER_STRIDES, str(tmp_path / "group")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"UserWarning: {torch_private.GRADIENT_STRIDES}" in done.stderr


def test_json5_says_where() -> None:
    with pytest.raises(ValueError, match=":") as raised:
        json5.loads("{\n a: }")
    found = re.fullmatch(torch_private.JSON5_PLACE, str(raised.value), re.DOTALL)
    assert found
    assert (found[1], found[3]) == ("2", "5")


def test_pydantic_lists_choices() -> None:
    class Choice(BaseModel):
        of: Literal["one", "two", "three"]

    with pytest.raises(ValidationError) as raised:
        Choice.model_validate({"of": "four"})
    context = raised.value.errors()[0]["ctx"]
    assert re.findall(torch_private.LITERAL_CHOICE, context["expected"]) == ["one", "two", "three"]


def test_openvino_names_its_own_files(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "model.xml"
    path.write_text("<net/>")
    with pytest.raises(RuntimeError) as raised:
        openvino.Core().read_model(path)
    lines = [line.strip() for line in str(raised.value).splitlines() if line.strip()]
    assert any(line.startswith(torch_private.OPENVINO_PLACES) for line in lines)


def test_faulthandler_says_timeout() -> None:
    code = "import faulthandler, time; faulthandler.dump_traceback_later(0.01, exit=True); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert any(line.startswith(torch_private.TIMEOUT) for line in done.stderr.splitlines())


# No private name is used anywhere else.

ALLOWED = {
    "_getframe": "Python documents it, in sys",
    "_fields": "Python documents it, in collections.namedtuple",
    "_check": "PyTorch documents it, for torch.export",
    "_is_param": "TracedTensor has it itself, under the name that isinstance(x, nn.Parameter) asks for",
}
"""Private names that may be used anywhere, and why."""

LISTED = {name for each in [*NAMES.values(), *REPLACED.values(), *OF_OBJECTS] for name in each.names.split()}
ON_SELF = {name for each in OF_OBJECTS for name in each.names.split()}
"""A class may use on itself what it inherits."""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def _defined_in(tree: ast.AST) -> Iterator[str]:
    """Names of functions, classes, variables and attributes that code makes itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_own(value: ast.expr) -> bool:
    """Whether an attribute of `value` is one of the class that the code is in."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def _is_of_torch(value: ast.expr) -> bool:
    return ast.unparse(value).partition(".")[0] in ("torch", "nn", "F", "fx")


def _private_uses(tree: ast.AST, own: set[str]) -> Iterator[tuple[int, str]]:
    """Line and name of each private name in `tree` that is not of fxbin itself."""
    parts_of_text = {
        id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in text.values
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            known = own | ON_SELF if _is_own(node.value) else own - LISTED
            names = [] if node.attr in known and not _is_of_torch(node.value) else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            imported = [(node.module or ""), *(alias.name for alias in node.names)]
            names = [] if (node.module or "").startswith("fxbin") else ".".join(imported).split(".")
        elif isinstance(node, ast.Import):
            names = ".".join(alias.name for alias in node.names).split(".")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts_of_text:
            parts = node.value.split(".")
            is_path = len(parts) > 1 and all(map(str.isidentifier, parts)) and not _is_private(parts[0])
            names = parts if is_path else [name for name in parts if node.value in LISTED]
        for name in names:
            if _is_private(name) and name not in ALLOWED:
                yield node.lineno, name  # type: ignore[attr-defined]


def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def _elsewhere() -> Iterator[str]:
    trees = _trees()
    own = {name for tree in trees.values() for name in _defined_in(tree)}
    for path, tree in trees.items():
        if path.name != "torch_private.py":
            for line, name in _private_uses(tree, own):
                yield f"{path.relative_to(ROOT)}:{line}: {name}"


def test_no_other_file_uses_private_names() -> None:
    assert [*_elsewhere()] == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import torch\nx = torch._C._is_tracing()", "_is_tracing"),
        ("from torch.jit import _trace", "_trace"),
        ("import torch._dynamo", "_dynamo"),
        ("tensor._version", "_version"),
        ("torch._mine", "_mine"),
        ("getattr(model, '_orig_mod')", "_orig_mod"),
        ("self._schema_of_torch", "_schema_of_torch"),
        ("x = 'torch._dynamo.eval_frame'", "_dynamo"),
    ],
)
def test_private_name_is_found(code: str, name: str) -> None:
    assert name in [found for _, found in _private_uses(ast.parse(code), {"_mine"})]


@pytest.mark.parametrize(
    "code",
    [
        "self._mine",
        "other._mine",
        "super()._apply(f)",
        "x.__dict__",
        "sys._getframe(1)",
        "'a b._c'",
        "f'{x}_apply'",
    ],
)
def test_other_names_are_not(code: str) -> None:
    assert [*_private_uses(ast.parse(code), {"_mine"})] == []


def _uses(tree: ast.AST) -> Iterator[str]:
    """What code takes from `torch_private`; as it stands there, or as an argument of `place`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch_private":
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "fxbin.torch_private":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "torch_private.place":
            yield ast.literal_eval(node.args[0])


def test_entries_are_those_that_are_used() -> None:
    used = {name for tree in _trees().values() for name in _uses(tree)}
    texts = {
        name for name, item in vars(torch_private).items() if name.isupper() and isinstance(item, str | tuple)
    }
    entries = {*NAMES, *REPLACED, *ATTRIBUTES, *NAMED, *texts} - {"INHERITED", "_ASK_TORCH"}
    assert used - {"place"} == entries


def test_it_imports_nothing_of_fxbin() -> None:
    assert isinstance(torch_private, ModuleType)
    tree = ast.parse((ROOT / "fxbin" / "torch_private.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import)]
    assert not any("fxbin" in ast.unparse(node) for node in imports)
