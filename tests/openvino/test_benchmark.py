import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.errors import ExportError
from fxbin.openvino import BenchmarkReport, Timing, benchmark
from tests.transforming import config


def test_four_forms_are_timed_in_turns_whatever_the_stage(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(1, 3, 12, 12))
    model = fxbin.transform(net, config(1, 3, 12, 12, ignored_scopes=["Sequential/NNCFConv2d[0]/conv2d_0"]))
    report = benchmark(model, rounds=3, repeat=2, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("*.blob"))) == 4
    assert model.training
    assert model.binarization.stage == "full precision"
    assert [timing.name for timing in report.timings] == ["float32", "int8", "1 bit", "1 bit, int8"]
    assert [timing.one_bit for timing in report.timings] == [0, 0, 1, 1]
    assert all(len(timing.seconds) == 6 for timing in report.timings)
    assert (report.promised, report.clock, report.shapes) == (1, "cpu", ((1, 3, 12, 12),))
    json.dumps(report.to_dict())


@pytest.mark.parametrize("option", ["rounds", "repeat"])
@pytest.mark.parametrize("count", [0, 1.5, "3"])
def test_a_number_of_runs_is_at_least_1(option: str, count: Any) -> None:
    model = fxbin.transform(nn.Conv2d(3, 16, 3), config(1, 3, 12, 12))
    with pytest.raises(ExportError, match=rf"^{option}: expected a whole number from 1 on, got {count!r}"):
        benchmark(model, **{option: count})


def test_medians_and_ratios() -> None:
    fast, slow = Timing("1 bit", (1.0, 9.0, 2.0), 10, {}), Timing("float32", (4.0, 3.0, 8.0), 10**6, {})
    report = BenchmarkReport("2026.4.1", "some CPU", 1, "f32", "cpu", ((1, 3),), 2, (slow, fast))
    assert report.speedup(fast) == 2
    assert report.to_dict()["timings"][1]["median"] == 2
    assert "| float32 | 4000.00 |          1.0 |                       | 1.00 |" in str(report)
    assert str(report).startswith("OpenVINO 2026.4.1 on some CPU, input 1x3\nmedian CPU time of 3 runs")
