"""The table that `fxbin train` prints at the end of a run."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_result(report: dict[str, Any], console: Console) -> None:
    """Print the held-out accuracy after each step of the run, and how the runtimes compare."""
    found = report["accuracy"]
    table = Table(title="held-out images")
    table.add_column("network")
    table.add_column("accuracy, %", justify="right")
    if found["full_precision"] is not None:
        table.add_row("full precision, before the stages", f"{found['full_precision']:.2f}")
    for stage, value in found["after_stage"].items():
        table.add_row(f"after stage: {stage}", f"{value:.2f}")
    table.add_row("[b]final, PyTorch[/b]", f"[b]{found['final']:.2f}[/b]")
    if "ema" in report:
        table.add_row("[b]final, averaged parameters[/b]", f"[b]{report['ema']['accuracy']:.2f}[/b]")
    check = report["onnx"]
    if check is not None:
        table.add_row("[b]final, onnxruntime[/b]", f"[b]{found['onnxruntime']:.2f}[/b]")
    engine, openvino = report["engine"], report["openvino"]
    deployed = "1-bit engine" if engine is not None and engine["one_bit"] else "deployed network, in float"
    if engine is not None:
        table.add_row(f"[b]final, {deployed}[/b]", f"[b]{engine['accuracy']:.2f}[/b]")
    if openvino is not None:
        table.add_row("[b]final, OpenVINO[/b]", f"[b]{openvino['accuracy']:.2f}[/b]")
    console.print(table)
    for name, compared in (("onnxruntime", check), (deployed, engine), ("OpenVINO", openvino)):
        if compared is not None:
            console.print(
                f"PyTorch and {name}: {compared['differing_predictions']} of {compared['compared']} "
                f"predictions differ, largest logit difference {compared['largest_logit_difference']:.1e}",
                highlight=False,
                soft_wrap=True,
            )
    if openvino is not None:
        console.print(f"verified: {_verified(openvino)}", highlight=False, soft_wrap=True)


def _verified(openvino: dict[str, Any]) -> str:
    """What was found out about the layers of the file in OpenVINO."""
    if not openvino["promised"]:
        return (
            f"OpenVINO {openvino['runtime']} has PyTorch's numbers; nothing runs in 1 bit, as the file has "
            "no convolution of which weights and activations are binarized"
        )
    return (
        f"OpenVINO {openvino['runtime']} runs {openvino['one_bit']} of {openvino['promised']} binarized "
        "convolutions in 1 bit, each with PyTorch's numbers"
    )
