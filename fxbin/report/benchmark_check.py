"""Checks that the report of a benchmark makes sense, and that it is about a certain model."""

import math
from collections.abc import Mapping, Sequence

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from fxbin.errors.messages import counted
from fxbin.graph.record import TensorSpec
from fxbin.graph.tensor_spec import value_spec
from fxbin.report.benchmark import NAMES, BenchmarkReport, Timing


def check_benchmark(report: BenchmarkReport, option: str) -> None:
    """Raise ExportError that names the first entry of `report`, the value of `option`, that is not right."""
    try:
        _check_entries(report)
    except ExportError as error:
        raise ExportError(f"{option}: {error}") from None


def _check_entries(report: BenchmarkReport) -> None:
    _check("versions", report.versions, isinstance(report.versions, Mapping), "names and versions")
    for runtime in report.versions:
        _check("versions", runtime, runtime in NAMES, f"runtimes among {', '.join(NAMES)}")
    for key in ("device", "precision", "clock", "model"):
        value = getattr(report, key)
        _check(key, value, isinstance(value, str), "text")
    _check("threads", report.threads, _is_count(report.threads, 1), "a whole number from 1 up")
    for shape in report.shapes:
        _check("shapes", shape, all(_is_count(size) for size in shape), "lists of sizes")
    share = report.fired
    _check("fired", share, share is None or (_is_finite(share) and 0 <= share <= 1), "a share from 0 to 1")
    is_random = report.random_inputs
    _check("random_inputs", is_random, isinstance(is_random, bool | None), "true or false")
    sites = report.binarized
    _check("binarized", sites, sites is None or _is_count(sites), "a whole number from 0 up")
    for number, timing in enumerate(report.timings):
        _check_timing(f"timings[{number}]", timing)


def check_times_of(report: BenchmarkReport, model: BinarizedModule, option: str) -> None:
    """Raise ExportError unless `report`, the value of `option`, may be about `model`.

    Compared are what both know: the class, the number of binarized convolutions, and the shapes of the inputs
    but for their first sizes, as a batch of any size may have been timed.
    """
    timed, own = _described(report), _described_model(model)
    sites = len(model.binarization.sites)
    most = max((timing.promised for timing in report.timings), default=0)
    # Files of older versions have neither the name nor the number, but tell how many were to run in 1 bit.
    is_same = report.model in ("", type(model).__name__) and (
        most <= sites if report.binarized is None else report.binarized == sites
    )
    shapes = _input_shapes(model)
    if shapes is not None:
        is_same &= [shape[1:] for shape in shapes] == [tuple(shape[1:]) for shape in report.shapes]
    if not is_same:
        raise ExportError(
            f"{option}: the times are those of another network: they are of {timed}, and this is {own}. Time "
            "this one, with `fxbin bench` or `fxbin.benchmark`."
        )


def _check_timing(name: str, timing: Timing) -> None:
    _check(f"{name}.runtime", timing.runtime, timing.runtime in NAMES, f"one of {', '.join(NAMES)}")
    _check(f"{name}.name", timing.name, isinstance(timing.name, str), "text")
    are_times = bool(timing.seconds) and all(_is_finite(value) and value > 0 for value in timing.seconds)
    _check(f"{name}.seconds", [*timing.seconds], are_times, "finite numbers above 0, at least one")
    for key in ("size", "promised", "one_bit"):
        value = getattr(timing, key)
        _check(f"{name}.{key}", value, _is_count(value), "a whole number from 0 up")


def _check(key: str, value: object, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ExportError(
            f"{key}: expected {expected}, got {value!r}. Run `fxbin bench --output` again, or take what "
            "`fxbin.benchmark` returns."
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _described(report: BenchmarkReport) -> str:
    """What `report` says about its network, in words."""
    sites = report.binarized
    if sites is None:
        sites = max((timing.promised for timing in report.timings), default=0)
    return _words(report.model or "a network", sites, report.shapes)


def _described_model(model: BinarizedModule) -> str:
    return _words(type(model).__name__, len(model.binarization.sites), _input_shapes(model) or ())


def _words(name: str, sites: int, shapes: Sequence[Sequence[int]]) -> str:
    inputs = " and ".join("x".join(map(str, shape)) for shape in shapes) or "unknown size"
    return f"{name} with {counted(sites, 'binarized convolution')} and inputs of {inputs}"


def _input_shapes(model: BinarizedModule) -> list[tuple[int, ...]] | None:
    """Shapes of the example inputs of `model`, those in containers included; None if they are not known."""
    values = [value_spec(model, node) for node in model.graph.find_nodes(op="placeholder")]
    if any(value is None for value in values):
        return None
    leaves = torch_private.pytree.tree_leaves(values)
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, TensorSpec)]
