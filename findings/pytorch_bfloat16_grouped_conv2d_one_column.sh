#!/usr/bin/env bash
# PyTorch 2.13.0 computes wrong numbers for a grouped conv2d in bfloat16 in channels_last whose output is one column wide.
#
# Three groups of one channel, three filters each, 3x3, stride (1, 2), on a CPU with AVX-512 BF16. The numbers are small
# whole ones, exact in bfloat16. The first row of the output is right, the others are not:
#
#   contiguous: largest error by row [0.0, 0.0, 0.0, ...]
#   channels_last: largest error by row [0.0, 2.0, 3.0, ...]
#   channels_last, without oneDNN: largest error by row [0.0, 0.0, 0.0, ...]
#
# Right with two columns or more, with equal strides, or with one filter a group. The values of memory around the input
# and the weight make no difference. Seen with torch 2.13.0+cpu on an AMD EPYC (Zen 4). Exits with 0 as long as this is
# so on such a CPU.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
import torch.nn.functional as F

torch.manual_seed(0)
x = torch.randint(0, 2, (1, 3, 14, 3)).bfloat16()
w = torch.randint(-1, 2, (9, 1, 3, 3)).bfloat16()
geometry = (1, 2), 0, 1, 3  # stride, padding, dilation, groups
right = F.conv2d(x.double(), w.double(), None, *geometry)


def errors(x):
    y = F.conv2d(x, w, None, *geometry)
    return (y.double() - right).abs().amax((0, 1, 3)).tolist()


last = x.contiguous(memory_format=torch.channels_last)
print("contiguous: largest error by row", errors(x))
print("channels_last: largest error by row", errors(last))
with torch.backends.mkldnn.flags(enabled=False):
    print("channels_last, without oneDNN: largest error by row", errors(last))
    assert max(errors(last)) == 0
assert max(errors(x)) == 0 < max(errors(last))
PYTHON
