"""What `fxbin train` prints at its end."""

import io
from typing import Any

from rich.console import Console

from fxbin.cli.result import print_result


def printed(promised: int) -> str:
    compared = {"accuracy": 90.0, "compared": 9, "differing_predictions": 0}
    compared["largest_logit_difference"] = 1e-6
    report: dict[str, Any] = {
        "accuracy": {"full_precision": 91.0, "after_stage": {}, "final": 90.0},
        "images": {"held_out": 10},
        "onnx": None,
        "engine": None,
        "openvino": compared | {"runtime": "2026.4", "promised": promised, "one_bit": promised},
    }
    text = io.StringIO()
    print_result(report, Console(file=text, width=200))
    return text.getvalue().splitlines()[-1]


def test_layers_in_one_bit_are_counted() -> None:
    assert printed(6).startswith("verified: OpenVINO 2026.4 runs 6 of 6 binarized convolutions in 1 bit")


def test_a_file_with_nothing_in_one_bit_is_not_called_verified_in_one_bit() -> None:
    assert "nothing runs in 1 bit, as the file has no convolution" in printed(0)
