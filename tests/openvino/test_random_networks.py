"""Random networks compute the same in OpenVINO as in PyTorch, in 1 bit where that is promised."""

from pathlib import Path

import pytest

import fxbin
from tests.binarizing import as_if_trained
from tests.openvino.random_networks import draw

FEW = range(4)
MANY = range(4, 300)


# An even kernel with padding "same" is one of the cases: PyTorch warns of it once in a process.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("levels", ["zero_scale", "sign"])
@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.zoo) for seed in MANY)])
def test_a_random_network_is_right_in_every_runtime(seed: int, levels: str, tmp_path: Path) -> None:
    drawn = draw(seed)
    activations = {} if levels == "zero_scale" else {"activations": {"levels": levels}}
    config = {
        "input_info": [{"sample_size": list(x.shape)} for x in drawn.inputs],
        "compression": {
            "algorithm": "binarization",
            "mode": drawn.mode,
            "params": drawn.params,
            **activations,
        },
    }
    model = as_if_trained(fxbin.transform(drawn.network, config))
    samples = [drawn.inputs, tuple(-x for x in drawn.inputs)]
    path = tmp_path / "model.onnx"
    fxbin.export_onnx(model, path, **drawn.options)
    report = fxbin.compare_runtimes(model, path, samples, runtimes=["onnxruntime", "openvino"], layers=True)
    assert report.is_right, str(report)
