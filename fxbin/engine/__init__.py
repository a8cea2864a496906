"""The 1-bit engine: two-level convolutions computed on bits, as operators of PyTorch.

Importing `fxbin.engine.operators` declares ``torch.ops.fxbin.binary_conv2d`` and the other operators. Unless
the wheel or the cache contains the engine, the C sources in ``kernels/`` are built when an operator first
runs.
"""
