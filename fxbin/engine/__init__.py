"""The 1-bit engine: two-level convolutions on bits, as operators of PyTorch.

Importing `fxbin.engine.operators` declares ``torch.ops.fxbin.binary_conv2d``. The C sources in ``kernels/``
are built when the operator first runs.
"""
