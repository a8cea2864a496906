"""Times the 1-bit engine beside OpenVINO, on the 16 binarized convolutions of ResNet18.

    python tests/benchmarks/engine_speed.py            # needs torchvision, OpenVINO and a C compiler
    python tests/benchmarks/engine_speed.py --quick --check
    python tests/benchmarks/engine_speed.py --avx2     # as on a CPU that has no more

Both in one process, in turns, one thread, 1x3x224x224. OpenVINO's time is what it counts itself for its
BinaryConvolution layers, with what it has fused into them; the engine's is that of the 16 modules in a run
of the deployed network, with BatchNorm, residual sums and ReLU, and with what Python adds. Thresholds are set
so that a given share of the inputs of each fires; less does, because inputs that are 0 after ReLU do not
fire, whatever the threshold. A ratio is the median over the rounds of the ratio in a round; in
brackets stands the ratio of the shortest times, of each convolution by itself, which a busy machine disturbs
less. Grouped convolutions are timed beside PyTorch in float32, in the layout that is faster there.
`--check` exits with 1 where a ratio is below its target. Prints the tables of docs/engine.md.
"""

import argparse
import operator
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.deployment import DeployedModule
from fxbin.deployment.graph_facts import packed_at, packed_nodes
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.engine.binary_conv2d import BinaryConv2d
from fxbin.engine.library import Engine, engine
from fxbin.engine.native import NativeCall
from fxbin.engine.signs import pack_channels, pack_signs
from fxbin.train.model_spec import build_model
from tests.binarizing import as_if_trained

CONFIG = Path(__file__).parents[2] / "configs" / "resnet18_imagenet_xnor.json5"
TARGETS = {0.28: 3.0, 0.5: 2.0}
"""Times OpenVINO's speed, by the share of inputs that fires."""


@dataclass(frozen=True)
class Layer:
    """Convolutions of 3x3 with padding 1 of one size."""

    channels: int
    filters: int
    size: int
    """Height and width of the input."""
    stride: int
    count: int
    """How many of them ResNet18 has."""
    groups: int = 1

    @property
    def name(self) -> str:
        """As the table calls it."""
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{self.channels} to {self.filters} at {self.size}x{self.size}{stride}{groups}"

    @property
    def inputs(self) -> int:
        """Numbers that a filter reads."""
        return 9 * self.channels // self.groups

    @property
    def products(self) -> int:
        """Multiplications of one of them."""
        return self.inputs * self.filters * (self.size // self.stride) ** 2

    def run(
        self, x: Tensor, share: float, loaded: Engine, kernel_name: str | None, of_bits: bool
    ) -> Callable[[], Any]:
        """Computes one of them on `x`, of which `share` fires, ReLU included.

        From floats to floats, with a sum, or from bits to bits: half of those in ResNet18 are of each kind.
        """
        out = self.size // self.stride
        levels = torch.rand(self.filters) / self.inputs**0.5
        thresholds = thresholds_for(x, share)
        shortcut = x if self.stride == 1 else new_input(self.filters, out)
        if of_bits:
            words = pack_channels(x > thresholds.view(-1, 1, 1))
            x = words.contiguous(memory_format=torch.channels_last)
        conv = BinaryConv2d.of(
            x,
            thresholds,
            torch.tensor([0.0, 0.7]),
            pack_signs(torch.randn(self.filters, self.channels // self.groups, 3, 3)),
            levels * torch.tensor([[-1.0], [1.0]]),
            torch.ones(self.filters),
            None if of_bits else shortcut,
            y_thresholds=torch.ones(self.filters) if of_bits else None,
            wants_floats=not of_bits,
            kernel_size=(3, 3),
            stride=(self.stride, self.stride),
            padding=(1, 1, 1, 1),
            groups=self.groups,
            activation="relu",
        )
        call = NativeCall(loaded, conv, kernel_name)
        return lambda: call.run(x, None if of_bits else shortcut)

    def run_float(self, x: Tensor) -> Callable[[], Any]:
        """Computes one of them on `x` in float32, in the layout of `x`, without what follows it."""
        weight = torch.randn(self.filters, self.channels // self.groups, 3, 3)
        weight = weight.contiguous(memory_format=torch.channels_last) if x.stride(1) == 1 else weight
        return lambda: F.conv2d(x, weight, None, self.stride, 1, 1, self.groups)


def thresholds_for(x: Tensor, share: float) -> Tensor:
    """For each channel, what `share` of `x` is above."""
    return torch.quantile(x.permute(1, 0, 2, 3).flatten(1), 1 - share, dim=1)


def new_input(channels: int, size: int) -> Tensor:
    """Random numbers, channels_last."""
    return torch.rand(1, channels, size, size).contiguous(memory_format=torch.channels_last)


LAYERS = (
    Layer(64, 64, 56, 1, 4),
    Layer(64, 128, 56, 2, 1),
    Layer(128, 128, 28, 1, 3),
    Layer(128, 256, 28, 2, 1),
    Layer(256, 256, 14, 1, 3),
    Layer(256, 512, 14, 2, 1),
    Layer(512, 512, 7, 1, 3),
)


GROUPED = tuple(
    Layer(channels, channels, size, 1, 0, channels // width)
    for width in (1, 2, 4, 8, 16, 32)
    for channels, size in ((128, 28), (128, 56), (256, 28))
)
"""Groups of 1 to 32 channels."""


def network(share: float) -> tuple[Callable[[], list[float]], float]:
    """Seconds of each of the 16 convolutions in a run of the deployed network, and the share that fires."""
    model = as_if_trained(fxbin.transform(build_model("torchvision:resnet18"), CONFIG))
    deployed = fxbin.deploy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = new_input(3, 224)
    seconds: list[float] = []
    fires = set_share(deployed, x, share)
    for packed in deployed.packed_convolutions.values():
        packed.forward = timed(packed.forward, seconds)

    def run() -> list[float]:
        seconds.clear()
        with torch.inference_mode():
            deployed(x)
        return [*seconds]

    return run, fires


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """`function`, which notes how long it takes."""

    def run(*args: Any) -> Any:
        start = time.perf_counter()
        result = function(*args)
        seconds.append(time.perf_counter() - start)
        return result

    return run


@torch.no_grad()
def set_share(deployed: DeployedModule, x: Tensor, share: float) -> float:
    """Let `share` of the inputs of each convolution fire; return what share does, of all."""
    fired: list[Tensor] = []

    def set_thresholds(packed: PackedConv2d, args: tuple[Tensor, ...]) -> None:
        packed.thresholds.copy_(thresholds_for(args[0], share))
        fired.append(args[0] > packed.thresholds.view(-1, 1, 1))

    handles = []
    for packed in deployed.packed_convolutions.values():
        assert packed.bias is not None
        packed.bias += 1  # most outputs are above 0, so that any share can be
        handles.append(packed.register_forward_pre_hook(set_thresholds))
    deployed(x)  # with hooks, floats go from one to the next
    for handle in handles:
        handle.remove()
    for node in packed_nodes(deployed):
        source = node.all_input_nodes[0]
        source = source.all_input_nodes[0] if source.target is operator.getitem else source
        if source in packed_nodes(deployed):
            thresholds = packed_at(deployed, node).thresholds.clone()
            packed_at(deployed, source).y_thresholds = thresholds
    return sum(int(each.sum()) for each in fired) / sum(each.numel() for each in fired)


@dataclass
class Timed:
    """Some convolutions, and how long each of them took in each round."""

    run: Callable[[], list[float]]
    """Computes them once, and returns the seconds of each."""
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def shortest(self) -> float:
        """Seconds of all together, of each the shortest of all rounds."""
        times: Iterable[tuple[float, ...]] = zip(*self.rounds, strict=True)
        return sum(min(of_one) for of_one in times)


def in_turns(forms: dict[Any, Timed], rounds: int) -> None:
    """Time each form once a round, after a run that does not count: the caches have had others' data."""
    for _ in range(rounds):
        for form in forms.values():
            form.run()
            form.rounds.append(form.run())


def stopwatch(function: Callable[[], Any]) -> Callable[[], list[float]]:
    """Calls `function`, and returns how long it takes."""
    seconds: list[float] = []
    call = timed(function, seconds)

    def run() -> list[float]:
        seconds.clear()
        call()
        return [*seconds]

    return run


def openvino_layers() -> tuple[Callable[[], list[float]], str]:
    """OpenVINO's own times for the 16 convolutions of a network, and the name of its kernel."""
    import openvino

    model = as_if_trained(fxbin.transform(build_model("torchvision:resnet18"), CONFIG))
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        fxbin.export_onnx(model, path)
        core = openvino.Core()
        request = core.compile_model(core.read_model(path), "CPU", properties).create_infer_request()
    x = torch.rand(1, 3, 224, 224).numpy()

    def layers() -> list[Any]:
        request.infer([x])
        return [layer for layer in request.profiling_info if layer.node_type == "BinaryConvolution"]

    found = layers()
    if len(found) != sum(layer.count for layer in LAYERS):
        sys.exit(f"OpenVINO runs {len(found)} convolutions in 1 bit")

    def run() -> list[float]:
        return [layer.real_time.total_seconds() for layer in layers()]

    return run, found[0].exec_type


def ratio(slow: Timed, fast: Timed) -> tuple[float, float]:
    """How many times as fast: the median over the rounds, and by the shortest times."""
    by_round = [sum(a) / sum(b) for a, b in zip(slow.rounds, fast.rounds, strict=True)]
    return statistics.median(by_round), slow.shortest / fast.shortest


def print_whole(loaded: Engine, rounds: int) -> bool:
    """The table of all 16 convolutions; whether all targets are met."""
    run, kernel = openvino_layers()
    forms: dict[Any, Timed] = {"OpenVINO": Timed(run)}
    fires: dict[float, float] = {}
    for share in TARGETS:
        run, fires[share] = network(share)
        forms[share] = Timed(run)
    in_turns(forms, rounds)
    print(f"OpenVINO's kernel: {kernel}; the engine's: {', '.join(loaded.kernels)}\n")
    print("| | shortest, ms | times as fast as OpenVINO | target |")
    print("| --- | ---: | ---: | ---: |")
    other, is_met = forms.pop("OpenVINO"), True
    print(f"| OpenVINO | {other.shortest * 1e3:.2f} | | |")
    for share, form in forms.items():
        median, best = ratio(other, form)
        is_met &= best >= TARGETS[share]
        cells = f"{form.shortest * 1e3:.2f} | {median:.2f} ({best:.2f}) | {TARGETS[share]:.1f}"
        print(f"| engine, {fires[share]:.1%} of inputs fire | {cells} |")
    return is_met


def print_kernels(loaded: Engine, rounds: int, of_bits: bool) -> None:
    """A table of the kernels by layer: billions of products a second, at 28 % and at 50 %."""
    inputs = {layer: new_input(layer.channels, layer.size) for layer in LAYERS}
    forms = {
        (layer, name, share): Timed(stopwatch(layer.run(inputs[layer], share, loaded, name, of_bits)))
        for layer in LAYERS
        for name in (None, *loaded.kernels)
        for share in TARGETS
    }
    in_turns(forms, rounds)
    names = ("chosen", *(f"`{name}`" for name in loaded.kernels))
    print(f"\n| convolution, {'bits to bits' if of_bits else 'floats to floats'} | {' | '.join(names)} |")
    print("| --- |" + " ---: |" * len(names))
    for layer in LAYERS:
        cells = []
        for name in (None, *loaded.kernels):
            speeds = [layer.products / forms[layer, name, share].shortest / 1e9 for share in TARGETS]
            cells.append(", ".join(f"{speed:.0f}" for speed in speeds))
        print(f"| {layer.name} | {' | '.join(cells)} |")


@torch.inference_mode()
def print_groups(loaded: Engine, rounds: int) -> bool:
    """The table of grouped convolutions beside PyTorch in float32; whether none but depthwise is slower."""
    forms: dict[Any, Timed] = {}
    for layer in GROUPED:
        x = new_input(layer.channels, layer.size)
        forms[layer, "1 bit"] = Timed(stopwatch(layer.run(x, 0.28, loaded, None, of_bits=False)))
        for layout in (torch.contiguous_format, torch.channels_last):
            of_layout = x.contiguous(memory_format=layout)
            forms[layer, layout] = Timed(stopwatch(layer.run_float(of_layout)))
    in_turns(forms, rounds)
    print("\n| convolution | channels of a group | float32, ms | 1 bit, ms | times as fast |")
    print("| --- | ---: | ---: | ---: | ---: |")
    is_met = True
    for layer in GROUPED:
        layouts = (torch.contiguous_format, torch.channels_last)
        in_float = min(forms[layer, layout].shortest for layout in layouts)
        in_one_bit = forms[layer, "1 bit"].shortest
        is_met &= in_float >= in_one_bit or layer.groups == layer.channels
        cells = f"{in_float * 1e3:.2f} | {in_one_bit * 1e3:.2f} | {in_float / in_one_bit:.1f}"
        print(f"| {layer.name} | {layer.channels // layer.groups} | {cells} |")
    return is_met


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, only the whole network")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512, on either side")
    arguments = parser.parse_args()
    if arguments.avx2:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # both are read when the libraries are loaded
        os.environ["FXBIN_MAX_CPU"] = "avx2"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    loaded = engine()
    if loaded is None:
        sys.exit("there is no engine to measure")
    is_met = print_whole(loaded, 30 if arguments.quick else 200)
    if not arguments.quick:
        for of_bits in (False, True):
            print_kernels(loaded, 30, of_bits)
        is_met &= print_groups(loaded, 30)
    if arguments.check and not is_met:
        sys.exit("a target is missed")


if __name__ == "__main__":
    main()
