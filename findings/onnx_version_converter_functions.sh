#!/usr/bin/env bash
# onnx 1.23.2: version_converter drops the local functions of a model and the metadata of its nodes.
#
# A valid model of opset 18 calls a local function; its node has metadata. `convert_version(model, 21)` gives no
# error and no warning. The call is still there, the function is gone, and so is the metadata. onnx's full check
# passes; onnxruntime refuses the file:
#
#   before: functions ['Step'], node metadata {'note': 'kept?'}; onnxruntime runs it
#   after:  functions [], calls ['Step'], node metadata {}; onnx checker passes
#   onnxruntime: ... org.example:Step(-1) is not a registered function/op
#
# Seen with Python 3.11, onnxruntime 1.32.0. Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter

step = helper.make_function(
    "org.example", "Step", ["x", "limit"], ["y"],
    [helper.make_node("Greater", ["x", "limit"], ["above"]),
     helper.make_node("Cast", ["above"], ["y"], to=TensorProto.FLOAT)],
    [helper.make_opsetid("", 18)],
)
limit = helper.make_tensor("limit", TensorProto.FLOAT, [1], [0.5])
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4])
steps = helper.make_tensor_value_info("steps", TensorProto.FLOAT, [1, 4])
call = helper.make_node("Step", ["image", "limit"], ["steps"], domain="org.example")
call.metadata_props.add(key="note", value="kept?")
graph = helper.make_graph([call], "g", [image], [steps], [limit])
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
model = helper.make_model(graph, opset_imports=opsets, functions=[step], ir_version=10)
onnx.checker.check_model(model, full_check=True)

def in_onnxruntime(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": np.array([[0, 0.5, 1, 2]], np.float32)})[0].tolist()

def metadata(model):
    return {entry.key: entry.value for entry in model.graph.node[0].metadata_props}

assert in_onnxruntime(model) == [[0, 0, 1, 1]]
print(f"before: functions {[f.name for f in model.functions]}, node metadata {metadata(model)}; onnxruntime runs it")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    converted = version_converter.convert_version(model, 21)
onnx.checker.check_model(converted, full_check=True)
functions, calls = [f.name for f in converted.functions], [node.op_type for node in converted.graph.node]
print(f"after:  functions {functions}, calls {calls}, node metadata {metadata(converted)}; onnx checker passes")
if functions or calls != ["Step"] or metadata(converted):
    sys.exit("changed: functions or metadata are kept, or calls are inlined")
try:
    found = in_onnxruntime(converted)
except Exception as error:
    print(f"onnxruntime: {str(error)[-90:]}")
    sys.exit("is not a registered function/op" not in str(error))
sys.exit(f"changed: onnxruntime runs the file and gives {found}")
PYTHON
