"""What `fxbin.benchmark` times, and that it works without OpenVINO."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.engine.library import Engine
from fxbin.errors import EngineError, ExportError
from fxbin.report import benchmark as benchmark_report
from fxbin.report.benchmark import processor_name
from fxbin.runtimes import BenchmarkReport, Timing, bench, deployed_forms, onnxruntime_forms
from tests.binarizing import binarize
from tests.transforming import config

needs_openvino = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "openvino", "nncf")), reason="no OpenVINO"
)


class Net(nn.Module):
    """One convolution in full precision, one binarized, and a classifier; it writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(1024, 5)

    def forward(self, x: Tensor) -> Tensor:
        x += 1
        y: Tensor = self.last(self.second(self.first(x).relu()).flatten(1))
        return y


SETTINGS = config(1, 3, 12, 12, ignored_scopes=["Net/NNCFConv2d[first]/conv2d_0"])


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fxbin.transform(Net(), SETTINGS)


def rows(report: BenchmarkReport) -> list[tuple[str, str, int, int]]:
    return [(timing.runtime, timing.name, timing.one_bit, timing.promised) for timing in report.timings]


IN_PYTORCH = [("engine", "float32", 0, 0), ("engine", "1 bit", 1, 1)]
IN_OPENVINO = [("openvino", name, int("1" in name), int("1" in name)) for name in ("float32", "1 bit")]


def test_the_engine_is_timed_without_openvino(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    before, threads = {name: w.clone() for name, w in model.state_dict().items()}, torch.get_num_threads()
    report = fxbin.benchmark(model, rounds=3, repeat=2)
    assert rows(report) == IN_PYTORCH
    assert all(len(timing.seconds) == 6 for timing in report.timings)
    assert (report.clock, report.shapes, list(report.versions)) == ("cpu", ((1, 3, 12, 12),), ["engine"])
    in_float, in_one_bit = report.timings
    kinds = ("conv2d", "PackedConv2d")
    assert [timing.operators.get(kind, 0) for timing in report.timings for kind in kinds] == [1, 0, 0, 1]
    weights = sum(w.nbytes for w in model.parameters() if w.dim() > 1)
    assert weights < in_float.size < weights + 1000  # with biases
    # 16 x 16 x 9 weights of 1 bit, instead of 4 bytes each, and a form of them for a kernel
    assert in_float.size - 16 * 16 * 9 * 4 + 16 * 16 * 9 / 8 < in_one_bit.size
    assert model.training
    assert model.binarization.stage == "full precision"
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    assert torch.get_num_threads() == threads
    json.dumps(report.to_dict())


BARE = """
import sys
import warnings
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_missing = name in ("numpy", "onnx", "onnxruntime", "openvino", "nncf")
        return None if is_missing else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
warnings.simplefilter("ignore")  # torch misses numpy
import torch
import fxbin

config = {"input_info": {"sample_size": [1, 3, 9, 9]}, "compression": {"algorithm": "binarization"}}
model = fxbin.transform(torch.nn.Conv2d(3, 8, 3), config)
print([timing.name for timing in fxbin.benchmark(model, runtimes=["engine"], rounds=1).timings])
try:
    fxbin.compare_runtimes(model, runtimes=["engine"])
except fxbin.ExportError as error:
    print(error)
"""


def test_the_engine_is_timed_with_nothing_but_torch(built: Engine) -> None:
    printed = subprocess.check_output([sys.executable, "-c", BARE], text=True)
    assert printed.splitlines() == [
        "['float32', '1 bit']",
        'numpy not found: pip install "fxbin[onnx]"',
    ]


@needs_openvino
def test_all_forms_are_timed_in_turns_whatever_the_stage(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns = []
    run_round = deployed_forms.DeployedForms.run_round

    def watched(forms: deployed_forms.DeployedForms) -> None:
        turns.append([len(form.seconds) for form in forms._forms])
        run_round(forms)

    monkeypatch.setattr(deployed_forms.DeployedForms, "run_round", watched)
    report = fxbin.benchmark(model, int8=False, rounds=3, repeat=2, cache_dir=tmp_path)
    assert turns == [[0, 0], [2, 2], [4, 4]]
    assert len(list(tmp_path.glob("*.blob"))) == 2
    assert rows(report) == IN_PYTORCH + IN_OPENVINO
    assert all(len(timing.seconds) == 6 for timing in report.timings)
    assert list(report.versions) == ["engine", "openvino"]
    assert report.speedup(report.timings[0]) == 1


@needs_openvino
def test_int8_is_timed_in_openvino(model: BinarizedModule) -> None:
    report = fxbin.benchmark(model, runtimes=["openvino"], rounds=1, repeat=1)
    assert [timing.name for timing in report.timings] == ["float32", "int8", "1 bit", "1 bit, int8"]
    assert [timing.one_bit for timing in report.timings] == [0, 0, 1, 1]
    assert (list(report.versions), report.fired) == (["openvino"], None)


def test_inputs_are_those_given_in_channels_last(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    forward = fxbin.DeployedModule.__call__

    def watched(self: fxbin.DeployedModule, x: Tensor) -> Any:
        seen.append(x.clone())
        return forward(self, x)

    monkeypatch.setattr(fxbin.DeployedModule, "__call__", watched)
    x = torch.rand(2, 3, 12, 12)
    report = fxbin.benchmark(model, (x,), runtimes=["engine"], rounds=2, repeat=1)
    assert report.shapes == ((2, 3, 12, 12),)
    assert len(seen) == 8
    assert all(torch.equal(given, x) for given in seen)
    assert all(given.is_contiguous(memory_format=torch.channels_last) for given in seen)


def test_the_share_that_fires_is_that_of_the_inputs(built: Engine) -> None:
    x = torch.randn(2, 3, 12, 12)
    model = binarize(nn.Conv2d(3, 8, 3), x)
    (site,) = model.binarization.sites.values()
    threshold = site.activation.levels().threshold
    model.binarization.enable(activations=False, weights=False)
    report = fxbin.benchmark(model, (x,), runtimes=["engine"], rounds=1, repeat=1)
    assert report.fired == pytest.approx(float((x > threshold).float().mean()))


def test_onnxruntime_is_timed_in_float_and_in_1_bit(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    report = fxbin.benchmark(model, runtimes=["engine", "onnxruntime"], rounds=2, repeat=2)
    assert rows(report) == [*IN_PYTORCH, ("onnxruntime", "float32", 0, 0), ("onnxruntime", "1 bit", 1, 1)]
    in_float, in_1_bit = report.timings[2:]
    assert len(in_float.seconds) == len(in_1_bit.seconds) == 4
    assert (in_float.operators["Conv"], in_1_bit.operators["Conv"]) == (2, 1)
    assert sum(count for name, count in in_1_bit.operators.items() if "BinaryConv2d" in name) == 1
    assert list(report.versions) == ["engine", "onnxruntime"]
    assert "| onnxruntime, 1 bit" in str(report)
    monkeypatch.setattr(onnxruntime_forms, "engine_or_why_not", lambda: EngineError("no compiler"))
    report = fxbin.benchmark(model, runtimes=["onnxruntime"], rounds=1, repeat=1)
    assert rows(report)[1] == ("onnxruntime", "1 bit, computed in float", 0, 1)


def test_without_the_engine_nothing_is_in_1_bit(
    model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.engine.operators.engine", lambda: None)
    monkeypatch.setattr(deployed_forms, "engine", lambda: None)
    report = fxbin.benchmark(model, runtimes=["engine"], rounds=1, repeat=1)
    assert rows(report)[1] == ("engine", "1 bit, computed in float", 0, 1)
    assert "0 of 1" in str(report)


@pytest.mark.parametrize("option", ["rounds", "repeat", "threads"])
@pytest.mark.parametrize("count", [0, 1.5, "3", True])
def test_a_number_is_at_least_1(model: BinarizedModule, option: str, count: Any) -> None:
    with pytest.raises(ExportError, match=rf"^{option}: expected a whole number from 1 on, got {count!r}"):
        fxbin.benchmark(model, **{option: count})


@pytest.mark.parametrize("runtimes", [["tvm"], "engine", []])
def test_runtimes_that_are_not_known_are_named(model: BinarizedModule, runtimes: Any) -> None:
    known = "engine, onnxruntime, openvino"
    with pytest.raises(ExportError, match=rf"^runtimes: expected a list of some of {known}, got"):
        fxbin.benchmark(model, runtimes=runtimes)


@pytest.mark.parametrize(("option", "value"), [("int8", True), ("precision", "bf16"), ("cache_dir", "cache")])
def test_options_of_openvino_need_it(model: BinarizedModule, option: str, value: Any) -> None:
    with pytest.raises(ExportError, match=rf"^{option}: got {value!r}, an option of OpenVINO, which is not"):
        fxbin.benchmark(model, runtimes=["engine"], **{option: value})


def test_medians_and_ratios() -> None:
    fast = Timing("engine", "1 bit", (1.0, 9.0, 2.0), 10, 2, 2, {})
    slow = Timing("openvino", "float32", (4.0, 3.0, 8.0), 10**6, 0, 0, {})
    versions: Any = {"engine": "2.13.0", "openvino": "2026.4.1"}
    report = BenchmarkReport(versions, "some CPU", 1, "f32", "cpu", ((1, 3),), 0.25, (slow, fast))
    assert report.speedup(fast) == 2
    assert report.to_dict()["timings"][1]["median"] == 2
    shown = str(report).splitlines()
    for is_random, inputs in ((True, "random inputs"), (False, "the given inputs")):
        how = replace(report, random_inputs=is_random).conditions[1]
        assert how.endswith(f"25% of the activations fire for {inputs}")
    assert shown[0] == "PyTorch 2.13.0, OpenVINO 2026.4.1 on some CPU, input 1x3"
    assert shown[1] == (
        "median CPU time of 3 runs, taken in turns; 1 thread, hint f32; 25% of the activations fire for the "
        "timed inputs"
    )
    assert "| OpenVINO, float32 | 4000.00 |          1.0 |                       | 1.00 |" in shown
    assert "| PyTorch, 1 bit    | 2000.00 |          2.0 |                2 of 2 | 0.00 |" in shown


def test_the_processor_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n")
    monkeypatch.setattr(benchmark_report, "CPU_INFO", tmp_path / "cpuinfo")
    assert processor_name() == "Some CPU @ 2 GHz"
    monkeypatch.setattr(benchmark_report, "CPU_INFO", tmp_path / "none")
    assert processor_name()
