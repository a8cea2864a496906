#!/usr/bin/env bash
# onnxslim 0.1.98 removes an input that the body of a local function does not use, and leaves it in the calls.
#
# A valid model: a local function of three inputs, one of them unused, is called with three. After
# `onnxslim model.onnx slim.onnx`, which ends with exit code 0, the function has two inputs and the call still
# three. onnx's full check passes; onnxruntime refuses the file:
#
#   before: function inputs ['x', 'low', 'high'], call inputs 3; onnxruntime runs it
#   after:  function inputs ['x', 'high'], call inputs 3; onnx checker passes
#   onnxruntime: ... Number of actual parameters cannot exceed number of formal parameters
#
# Seen with Python 3.11, onnx 1.23.2, onnxruntime 1.32.0. Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxslim==0.1.98 onnxruntime==1.32.0
cd "$folder"
export PATH="$folder/venv/bin:$PATH"

python - <<'PYTHON'
import onnx
from onnx import TensorProto, helper

step = helper.make_function(
    "org.example", "Step", ["x", "low", "high"], ["y"],
    [helper.make_node("Greater", ["x", "high"], ["above"]),
     helper.make_node("Cast", ["above"], ["y"], to=TensorProto.FLOAT)],
    [helper.make_opsetid("", 18)],
)
limits = [helper.make_tensor(name, TensorProto.FLOAT, [1], [0.5]) for name in ("low", "high")]
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4])
steps = helper.make_tensor_value_info("steps", TensorProto.FLOAT, [1, 4])
call = helper.make_node("Step", ["image", "low", "high"], ["steps"], domain="org.example")
graph = helper.make_graph([call], "g", [image], [steps], limits)
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
model = helper.make_model(graph, opset_imports=opsets, functions=[step], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")
PYTHON

onnxslim model.onnx slim.onnx > /dev/null

python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime

def described(path):
    model = onnx.load(path)
    return f"function inputs {list(model.functions[0].input)}, call inputs {len(model.graph.node[0].input)}"

def in_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": np.array([[0, 0.5, 1, 2]], np.float32)})[0].tolist()

assert in_onnxruntime("model.onnx") == [[0, 0, 1, 1]]
print(f"before: {described('model.onnx')}; onnxruntime runs it")
onnx.checker.check_model("slim.onnx", full_check=True)
print(f"after:  {described('slim.onnx')}; onnx checker passes")
try:
    found = in_onnxruntime("slim.onnx")
except Exception as error:
    print(f"onnxruntime: {str(error)[-120:]}")
    sys.exit("Number of actual parameters cannot exceed" not in str(error))
sys.exit(f"changed: onnxruntime runs the file and gives {found}")
PYTHON
