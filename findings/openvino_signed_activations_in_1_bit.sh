#!/usr/bin/env bash
# OpenVINO 2026.4.1 runs a convolution of activations -1 and 1 in 1 bit on a CPU, and takes every activation for -1.
#
# FakeQuantize with the two levels -1 and 1 on the activations and on the weights, then a 3x3 convolution. It is compiled to one
# BinaryConvolution, and without a warning every output is minus the sum of the weights of its filter, whatever the input. With
# the levels 0 and 2 for the activations the numbers are right:
#
#   activations -1 and 1: BinaryConvolution, largest error 68.0, all outputs minus the sum of the weights: True
#   activations 0 and 2: BinaryConvolution, largest error 0.0, all outputs minus the sum of the weights: False
#
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import openvino
from openvino import opset8 as ops

rng = np.random.default_rng(0)
x = rng.standard_normal((1, 16, 8, 8)).astype(np.float32)
w = np.sign(rng.standard_normal((16, 16, 3, 3))).astype(np.float32)


def constant(value, shape=(1, 1, 1, 1)):
    return ops.constant(np.full(shape, value, np.float32))


def run(low, high):
    """Kind of the compiled convolution, its outputs, and the right ones."""
    data = ops.parameter(x.shape, np.float32)
    threshold = constant(0, (1, 16, 1, 1))
    bits = ops.fake_quantize(data, threshold, threshold, constant(low), constant(high), 2)
    zero, a = constant(0, (16, 1, 1, 1)), constant(1, (16, 1, 1, 1))
    weights = ops.fake_quantize(ops.constant(w), zero, zero, constant(-1, (16, 1, 1, 1)), a, 2)
    y = ops.convolution(bits, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    compiled = openvino.Core().compile_model(openvino.Model([y], [data]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = [op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ordered_ops()]
    windows = np.lib.stride_tricks.sliding_window_view(np.where(x > 0, high, low), (3, 3), axis=(2, 3))
    right = np.einsum("ncyxij,ocij->noyx", windows, w)
    return next(kind for kind in kinds if "Convolution" in kind), compiled([x])[0], right


print(openvino.get_version())
for low, high in ((-1, 1), (0, 2)):
    kind, found, right = run(low, high)
    error = np.abs(found - right).max()
    is_constant = bool((found == -w.sum((1, 2, 3)).reshape(1, -1, 1, 1)).all())
    print(f"activations {low} and {high}: {kind}, largest error {error}, all outputs minus the sum of the weights: {is_constant}")
    assert kind == "BinaryConvolution"
    assert (error > 1) == is_constant == (low == -1)
PYTHON
