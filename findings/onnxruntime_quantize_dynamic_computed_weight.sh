#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_dynamic stops at a convolution with a bias whose weight is computed from constants.
#
# A valid model stores the signs of a weight in int8 and casts them, so that the weight of its Conv, which has a
# bias, is no initializer. onnxruntime runs it. quantize_dynamic with its defaults stops with an error that names an
# internal value and no way out; quantize_static takes the same model, and so does quantize_dynamic for
# op_types_to_quantize=["MatMul", "Gemm"]:
#
#   onnxruntime runs the model
#   quantize_dynamic: ValueError: Expected weight to be an initializer
#   quantize_dynamic for MatMul and Gemm: no error
#   quantize_static: no error
#
# Without the bias there is no error in any of the three.
# Seen with Python 3.11, onnx 1.23.2. Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

logging.disable(logging.WARNING)  # which speaks of pre-processing
generator = np.random.default_rng(0)
signs = numpy_helper.from_array(generator.choice([-1, 1], (4, 4, 3, 3)).astype(np.int8), "signs")
nodes = [
    helper.make_node("Cast", ["signs"], ["weight"], to=TensorProto.FLOAT, name="cast"),
    helper.make_node("Conv", ["image", "weight", "bias"], ["features"], name="conv"),
]
bias = numpy_helper.from_array(np.zeros(4, np.float32), "bias")
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 8, 8])
features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 4, 6, 6])
graph = helper.make_graph(nodes, "g", [image], [features], [signs, bias])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")
sample = {"image": generator.standard_normal((1, 4, 8, 8), dtype=np.float32)}
onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, sample)
print("onnxruntime runs the model")

class Samples(CalibrationDataReader):
    def __init__(self):
        self.samples = iter([sample])

    def get_next(self):
        return next(self.samples, None)

def refusal(function, *args, **options):
    try:
        function("model.onnx", "quantized.onnx", *args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"

seen = {
    "quantize_dynamic": refusal(quantize_dynamic),
    "quantize_dynamic for MatMul and Gemm": refusal(quantize_dynamic, op_types_to_quantize=["MatMul", "Gemm"]),
    "quantize_static": refusal(quantize_static, Samples()),
}
for name, what in seen.items():
    print(f"{name}: {what}")
sys.exit([*seen.values()] != ["ValueError: Expected weight to be an initializer", "no error", "no error"])
PYTHON
