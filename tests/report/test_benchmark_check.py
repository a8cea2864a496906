"""Times on a page are those of its network, and make sense."""

import math
from dataclasses import replace
from typing import Any

import pytest

from fxbin.errors import ExportError
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.benchmark_check import check_benchmark, check_times_of
from tests.report.pages import timings, transformed


def test_times_of_the_network_are_taken_for_any_batch() -> None:
    model = transformed()
    known = replace(timings(), model="Net", binarized=3)
    for report in (timings(), known, replace(known, shapes=((64, 3, 8, 8),))):
        check_times_of(report, model, "timings")
        check_benchmark(BenchmarkReport.from_dict(report.to_dict()), "timings")


@pytest.mark.parametrize(
    ("changes", "timed"),
    [
        ({"binarized": 1}, "Net with 1 binarized convolution and inputs of 1x3x8x8"),
        ({"model": "Other"}, "Other with 3 binarized convolutions and inputs of 1x3x8x8"),
        ({"binarized": 26}, "Net with 26 binarized convolutions and inputs of 1x3x8x8"),
        ({"shapes": ((1, 3, 64, 64),)}, "Net with 3 binarized convolutions and inputs of 1x3x64x64"),
        ({"shapes": ((1, 3, 8, 8), (1, 2))}, "inputs of 1x3x8x8 and 1x2"),
    ],
)
def test_times_of_another_network_are_an_error_that_names_both(changes: Any, timed: str) -> None:
    report = replace(timings(), **{"model": "Net", "binarized": 3, **changes})
    with pytest.raises(ExportError, match="another network") as raised:
        check_times_of(report, transformed(), "timings")
    assert timed in str(raised.value)
    assert "and this is Net with 3 binarized convolutions and inputs of 2x3x8x8" in str(raised.value)


def test_files_of_older_versions_are_compared_by_what_they_know() -> None:
    old = timings()
    more = replace(old.timings[1], promised=26, one_bit=26)
    with pytest.raises(ExportError, match="they are of a network with 26 binarized convolutions and inputs"):
        check_times_of(replace(old, timings=(old.timings[0], more)), transformed(), "timings")


@pytest.mark.parametrize("seconds", [(-1.0, 1.0), (math.nan,), (math.inf,), (0.0,), ("1",), (), (True,)])
def test_impossible_durations_are_refused(seconds: Any) -> None:
    report = timings()
    wrong = replace(report, timings=(report.timings[0], replace(report.timings[1], seconds=seconds)))
    with pytest.raises(ExportError, match=r"--bench: timings\[1\]\.seconds: expected finite numbers above 0"):
        check_benchmark(wrong, "--bench")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {"tvm": "1"}}, "versions: expected runtimes among engine"),
        ({"versions": 3}, "versions: expected names and versions, got 3"),
        ({"device": None}, "device: expected text, got None"),
        ({"random_inputs": 1}, "random_inputs: expected true or false, got 1"),
        ({"threads": 0}, "threads: expected a whole number from 1 up, got 0"),
        ({"shapes": (("a",),)}, "shapes: expected lists of sizes, got ('a',)"),
        ({"fired": 1.5}, "fired: expected a share from 0 to 1, got 1.5"),
        ({"fired": math.nan}, "fired: expected a share from 0 to 1, got nan"),
        ({"binarized": -1}, "binarized: expected a whole number from 0 up, got -1"),
    ],
)
def test_other_entries_that_no_benchmark_has_are_refused(changes: Any, said: str) -> None:
    with pytest.raises(ExportError) as raised:
        check_benchmark(replace(timings(), **changes), "timings")
    assert said in str(raised.value)


@pytest.mark.parametrize(("key", "value"), [("runtime", "tvm"), ("name", 1), ("size", -1), ("promised", 0.5)])
def test_entries_of_a_timing_are_checked_too(key: str, value: Any) -> None:
    report = timings()
    wrong: Any = {key: value}
    with pytest.raises(ExportError, match=rf"timings: timings\[0\]\.{key}: expected"):
        check_benchmark(replace(report, timings=(replace(report.timings[0], **wrong),)), "timings")
