#!/usr/bin/env bash
# OpenCV 5.0.0, tract 0.23.9 and TVM 0.27.0 refuse an ONNX model that calls a function of its own.
#
# A valid model: a convolution, and a local function of standard operators behind it. onnxruntime expands the
# function and runs it. None of these three does; each runs the same model after onnx.inliner, and gives what
# onnxruntime gives:
#
#   onnxruntime: with the function runs, inlined runs
#   opencv:      with the function refused, inlined runs
#   tract:       with the function refused, inlined runs
#   tvm:         with the function refused, inlined runs
#
# Seen with Python 3.11 on x86-64, onnx 1.23.2, onnxruntime 1.32.0. Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 \
    opencv-python-headless==5.0.0.93 tract==0.23.9 apache-tvm==0.27.0.post1
cd "$folder"
export PATH="$folder/venv/bin:$PATH"

cat > make.py <<'PYTHON'
import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

step = helper.make_function(
    "org.example", "Step", ["x", "limit"], ["y"],
    [helper.make_node("Sub", ["x", "limit"], ["above"]), helper.make_node("Relu", ["above"], ["y"])],
    [helper.make_opsetid("", 18)],
)
generator = np.random.default_rng(0)
weight = numpy_helper.from_array(generator.standard_normal((8, 4, 3, 3), dtype=np.float32), "weight")
limit = numpy_helper.from_array(np.array([0.5], np.float32), "limit")
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 8, 8])
steps = helper.make_tensor_value_info("steps", TensorProto.FLOAT, [1, 8, 6, 6])
nodes = [
    helper.make_node("Conv", ["image", "weight"], ["features"], name="conv"),
    helper.make_node("Step", ["features", "limit"], ["steps"], name="step", domain="org.example"),
]
graph = helper.make_graph(nodes, "g", [image], [steps], [weight, limit])
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
model = helper.make_model(graph, opset_imports=opsets, functions=[step], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "function.onnx")
onnx.save(inliner.inline_local_functions(model), "inlined.onnx")
np.save("image.npy", generator.standard_normal((1, 4, 8, 8), dtype=np.float32))
PYTHON

cat > run.py <<'PYTHON'
import sys

import numpy as np

tool, path = sys.argv[1:]
x = np.load("image.npy")
if tool == "onnxruntime":
    import onnxruntime

    found = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
    np.save("expected.npy", found)
elif tool == "opencv":
    import cv2

    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(x)
    found = net.forward()
elif tool == "tract":
    import tract

    found = tract.onnx().load(path).into_model().into_runnable().run([x])[0].to_numpy()
elif tool == "tvm":
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = relax.get_pipeline("zero")(from_onnx(onnx.load(path)))
    machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(x))
    found = (found if hasattr(found, "numpy") else found[0]).numpy()
expected = np.load("expected.npy")
assert np.abs(found.reshape(expected.shape) - expected).max() < 1e-4
PYTHON

python make.py
changed=0
for tool in onnxruntime opencv tract tvm; do
    for file in function inlined; do
        if python -W ignore run.py "$tool" "$file.onnx" > "$tool.$file.log" 2>&1; then
            declare "$file=runs"
        else
            declare "$file=refused"
        fi
    done
    printf '%-12s with the function %s, inlined %s\n' "$tool:" "$function" "$inlined"
    expected=refused
    [ "$tool" = onnxruntime ] && expected=runs
    [ "$function" = "$expected" ] && [ "$inlined" = runs ] || changed=1
done
exit "$changed"
