"""Times deployed networks in PyTorch, beside OpenVINO.

    python tests/benchmarks/deployed_speed.py            # needs torchvision, OpenVINO and a C compiler
    python tests/benchmarks/deployed_speed.py ResNet18 --threads 2 --batch 8
    python tests/benchmarks/deployed_speed.py --quick --check

Four forms of a network in one process and in turns, 224x224: in OpenVINO in float32, and in 1 bit with the
rest in float32; in PyTorch in 1 bit with the rest in float32, and with the rest in int8. Of each binarized
input, a share fires that is set by the thresholds. A ratio is the median over the rounds of the ratio in a
round; in brackets stands the ratio of the shortest times, which a busy machine disturbs less. Below the table
stands what the weights take in memory after these runs, in 1 bit with the rest in float32. `--check` exits
with 1 where a ratio of ResNet18 is below its target, or where its weights take more than an eighth of those
in float32. Prints the table of docs/engine.md.

PyTorch gives the memory of large activations back to the system behind each layer and gets it anew, unless
the environment has MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=2000000000.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
from fxbin.deployment import DeployedModule
from tests.benchmarks.onnxruntime_speed import keep_table_whole, ratios, read_arguments, with_share
from tests.benchmarks.openvino_speed import CASES, SIZE, Case

FORMS = ("OpenVINO float32", "OpenVINO 1 bit", "1 bit", "1 bit and int8")
TARGETS = {"1 bit": 5.5, "1 bit and int8": 8.0}
"""Times the speed of OpenVINO in float32, of ResNet18, on one thread, one picture at a time."""
MEMORY = 1 / 8
"""Most memory of the weights of ResNet18, as a share of that of the float32 weights."""


def in_openvino(path: Path, x: Tensor, threads: int) -> Callable[[], Any]:
    """Runs the file on `x`."""
    core = openvino.Core()
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(core.read_model(path), "CPU", properties).create_infer_request()
    values = [x.contiguous().numpy()]
    return lambda: request.infer(values)


def in_pytorch(deployed: DeployedModule, x: Tensor) -> Callable[[], Any]:
    """Runs the deployed model on `x`, both in channels_last."""
    deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: deployed(x))


@dataclass(frozen=True)
class Network:
    """A network to measure."""

    runs: dict[str, Callable[[], Any]]
    """It in each of `FORMS`."""
    fires: float
    """Share of the inputs of its binarized convolutions that fires."""
    deployed: DeployedModule
    """It in 1 bit, with the rest in float32."""
    float_bytes: int
    """Number of bytes of its float32 weights."""


def read_network(case: Case, x: Tensor, threads: int, share: float) -> Network:
    """Make the network in each of `FORMS`."""
    torch.manual_seed(0)
    network, model = case.make().eval(), case.binarized()
    fires = with_share(model, x, share)
    with tempfile.TemporaryDirectory() as folder:
        plain, bits = Path(folder) / "float32.onnx", Path(folder) / "bits.onnx"
        torch.onnx.export(network, (x,), plain, dynamo=True, verbose=False)
        fxbin.export_onnx(model, bits, (x,))
        runs = [in_openvino(path, x, threads) for path in (plain, bits)]
    deployed = [fxbin.deploy(model, (x,), calibration=each) for each in (None, [x])]
    runs += [in_pytorch(each, x) for each in deployed]
    float_bytes = sum(weight.nbytes for weight in network.parameters())
    return Network(dict(zip(FORMS, runs, strict=True)), fires, deployed[0], float_bytes)


def measure(forms: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each form in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, run in forms.items():
            run()  # does not count: the caches have had another form's data
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure, and print the table."""
    arguments = read_arguments(__doc__)
    keep_table_whole()
    names = ("ResNet18",) if arguments.quick else tuple(arguments.names)
    torch.set_num_threads(arguments.threads)
    print(f"OpenVINO {openvino.__version__}, threads: {arguments.threads}, batch: {arguments.batch}; ms\n")
    print("| network | fires | OpenVINO, float32 | 1 bit | PyTorch, 1 bit | ratio | 1 bit and int8 | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    missed, memory = [], []
    for case in CASES:
        if names and not case.name.startswith(names):
            continue
        x = torch.rand(arguments.batch, *SIZE[1:], generator=torch.Generator().manual_seed(0))
        network = read_network(case, x, arguments.threads, arguments.share)
        seconds = measure(network.runs, arguments.rounds)
        cells = [f"{min(seconds[name]) * 1e3:.1f}" for name in FORMS[:2]]
        for name, target in TARGETS.items():
            median, best = ratios(seconds[FORMS[0]], seconds[name])
            cells += [f"{min(seconds[name]) * 1e3:.1f}", f"{median:.1f} ({best:.1f})"]
            if case.name == "ResNet18" and best < target:
                missed.append(f"{name} {best:.2f} of {target}")
        print(f"| {case.name} | {network.fires:.0%} | {' | '.join(cells)} |", flush=True)
        held, of = network.deployed.held_bytes, network.float_bytes
        memory.append(f"{case.name}: {held / 1e6:.2f} MB of weights in memory, {of / 1e6:.2f} in float32")
        if case.name == "ResNet18" and held > MEMORY * of:
            missed.append(f"memory {held / of:.3f} of {MEMORY}")
    print("", *memory, sep="\n")
    if arguments.check and missed:
        sys.exit(f"a target is missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
