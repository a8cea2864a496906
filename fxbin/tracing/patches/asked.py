"""Notes what code asks about the settings of torch, so that a graph runs only where it gets these answers."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import FrameType, ModuleType
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.backends import cuda, cudnn, mha, mkldnn

from fxbin.tracing.patches.replacement import Sample
from fxbin.tracing.recorder.location import home_of
from fxbin.tracing.recorder.questions import OfState
from fxbin.tracing.values.active import active_tracer
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.stand_ins import standing_for

_FUNCTIONS: dict[ModuleType, tuple[str, ...]] = {
    torch: (
        "is_inference_mode_enabled", "is_anomaly_enabled", "is_anomaly_check_nan_enabled",
        "is_autocast_enabled", "is_autocast_cpu_enabled", "is_autocast_cache_enabled", "get_autocast_dtype",
        "get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "get_num_threads", "get_num_interop_threads",
        "get_default_dtype", "get_default_device", "get_float32_matmul_precision",
        "are_deterministic_algorithms_enabled", "is_deterministic_algorithms_warn_only_enabled",
        "get_deterministic_debug_mode",
    ),
    cuda: ("flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "cudnn_sdp_enabled"),
    mha: ("get_fastpath_enabled",),
    torch.distributed: ("is_initialized", "get_rank", "get_world_size"),
}  # fmt: skip
"""Functions that answer with a setting, by the Python modules in which code looks them up."""

_PROPERTIES: dict[ModuleType, tuple[str, ...]] = {
    cudnn: ("enabled", "deterministic", "benchmark", "allow_tf32"),
    mkldnn: ("enabled", "deterministic", "allow_tf32"),
}
"""Settings that are properties of Python modules."""

_REGIONAL: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (
    (torch.is_grad_enabled, ()),
    (torch.is_inference_mode_enabled, ()),
    (torch.is_autocast_enabled, ()),
    *((torch.is_autocast_enabled, (device,)) for device in ("cpu", "cuda")),
    *((torch.get_autocast_dtype, (device,)) for device in ("cpu", "cuda")),
    (torch.is_autocast_cache_enabled, ()),
)
"""Questions about what code itself often changes for a region, such as that of `torch.autocast`."""

_SIMPLE = (type(None), bool, int, str, torch.dtype, torch.device)


def answers_now() -> dict[tuple[Any, ...], Any]:
    """The answers to the questions whose answers regions of the code may change."""
    return {(function, args): function(*args) for function, args in _REGIONAL}


def is_of_model(frame: FrameType) -> bool:
    """Whether the code of `frame` belongs to a model: to its own files, or to layers of torch."""
    return not is_of_torch(frame) or home_of(frame).startswith("torch.nn.")


def is_of_torch(frame: FrameType) -> bool:
    """Whether the code of `frame` belongs to torch."""
    return home_of(frame).startswith("torch.")


def asking_functions() -> dict[ModuleType, dict[str, Callable[..., Any]]]:
    """A function for each setting that notes the question, by Python module and name."""
    return {
        module: {name: _asking(vars(module)[name]) for name in names if name in vars(module)}
        for module, names in _FUNCTIONS.items()
    }


@cache
def _asking(original: Callable[..., Any]) -> Callable[..., Any]:
    @standing_for(original)
    @speaks_for_user
    def ask(*args: Any, **kwargs: Any) -> Any:
        answer = original(*args, **kwargs)
        if not kwargs and all(isinstance(arg, _SIMPLE) for arg in args):
            _note(original, args, answer, sys._getframe(1))
        return answer

    return ask


def _note(function: Callable[..., Any], args: tuple[Any, ...], answer: Any, frame: FrameType) -> None:
    tracer = active_tracer()
    if tracer is not None and not tracer.position.knows_values and is_of_model(frame):
        tracer.questions.of_state(function, args, answer)


class _AskingProperty:
    """Replaces a setting that is a property of the Python module `module`."""

    def __init__(self, module: ModuleType, name: str, original: Any) -> None:
        self._original = original

        def read() -> Any:
            return getattr(module, name)

        self._read = read

    @speaks_for_user
    def __get__(self, module: Any, kind: Any = None) -> Any:
        answer = self._original.__get__(module, kind)
        _note(self._read, (), answer, sys._getframe(1))
        return answer

    @speaks_for_user
    def __set__(self, module: Any, value: Any) -> None:
        self._original.__set__(module, value)


@cache
def _asking_properties() -> tuple[tuple[type, str, Any, _AskingProperty], ...]:
    return tuple(
        (type(module), name, original, _AskingProperty(module, name, original))
        for module, names in _PROPERTIES.items()
        for name in names
        if (original := vars(type(module)).get(name)) is not None
    )


@contextmanager
def properties_asked() -> Iterator[None]:
    """Note the settings that are properties and that the code reads."""
    properties = _asking_properties()
    for owner, name, _, asking in properties:
        setattr(owner, name, asking)
    try:
        yield
    finally:
        for owner, name, original, _ in properties:
            setattr(owner, name, original)


@contextmanager
def names_replaced(imported: Iterable[tuple[dict[str, Any], str, Any]]) -> Iterator[None]:
    """Replace questions in global names of a model's code: namespaces, names and `imported` functions.

    Other threads find them there as well, where they do what the originals do.
    """
    asking = {id(each._stands_for): each for each in _stand_ins()}
    replaced = [entry for entry in imported if id(entry[2]) in asking]
    for names, name, function in replaced:
        names[name] = asking[id(function)]
    try:
        yield
    finally:
        for names, name, function in replaced:
            if names.get(name) is asking[id(function)]:
                names[name] = function


def _stand_ins() -> Iterator[Any]:
    """Yield all functions that stand for questions at present."""
    for module, names in (*_FUNCTIONS.items(), (torch, ("is_grad_enabled",)), (torch.overrides, _OVERRIDES)):
        yield from (vars(module)[name] for name in names if hasattr(vars(module).get(name), "_stands_for"))


_OVERRIDES = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def _overrides(*items: Any) -> bool:
    """Whether torch asks any of `items` what a function of torch does: not the tracer's own tensors."""
    plain = nn.Parameter.__torch_function__
    kinds = {type(item) for item in items} - {torch.Tensor}
    return any(getattr(kind, "__torch_function__", plain) is not plain for kind in kinds)


def about_one(original: Callable[[Any], bool]) -> Callable[..., bool]:
    """Replace `has_torch_function_unary` or `has_torch_function_variadic`, which see the tracer's mode."""

    @speaks_for_user
    def has_torch_function(*items: Any) -> bool:
        if active_tracer() is None or is_of_torch(sys._getframe(1)):
            return original(*items)
        return _overrides(*items)

    return has_torch_function


def about_all(items: Any) -> bool:
    """What ``torch.overrides.has_torch_function(items)`` answers to the code of a model."""
    return _overrides(*items)


def asking_checks() -> list[tuple[str, Callable[[Sample], object]]]:
    """For each setting, its name and a check that the question is noted."""
    functions = [
        (f"{module.__name__}.{name}", partial(_is_noted, module, name))
        for module, names in asking_functions().items()
        for name in names
        if module is torch and name not in _WITH_DEVICE
    ]
    properties = [
        (f"{module.__name__}.{name}", partial(_is_read, module, name))
        for module, names in _PROPERTIES.items()
        for name in names[:1]
    ]
    return [*functions, *properties]


_WITH_DEVICE = ("get_autocast_dtype",)


def _is_noted(module: ModuleType, name: str, sample: Sample) -> bool:
    getattr(module, name)()
    return any(
        isinstance(each, OfState) and getattr(each.function, "__name__", "") == name
        for each in sample.tracer.questions.all
    )


def _is_read(module: ModuleType, name: str, sample: Sample) -> bool:
    before = len(sample.tracer.questions.all)
    getattr(module, name)
    return len(sample.tracer.questions.all) > before
