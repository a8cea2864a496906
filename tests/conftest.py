"""What every test gets: one thread, a fixed seed, a torchvision that can be imported, and shorter waits."""

import functools
import gc
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fxbin.train.torchvision_operators import declare_operators

if TYPE_CHECKING:
    from fxbin.engine.library import Engine

# The operators exist as long as the object that declared them.
TORCHVISION_OPERATORS = declare_operators()

# Sums in a fixed order, and no fight for cores between tests run side by side, and what they start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Python's garbage collector looks at all objects of the process a tenth as often.
gc.set_threshold(700, 10, 100)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what lives as long as the process.

    Imports and tests are 600,000 objects by now; with them it would take a tenth of all the time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Start every test from the same random state and leave no trace of it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def signatures_read_once() -> None:
    """Let PyTorch's ONNX exporter find the signatures of its operators once a process.

    It parses the source of 500 functions at each export, half the time that a small model takes.
    """
    kind: Any = getattr(sys.modules.get("onnxscript.values"), "TracedOnnxFunction", object)
    signature = vars(kind).get("function_ir")
    if isinstance(signature, property) and signature.fget is not None:
        once = functools.cached_property(signature.fget)
        once.__set_name__(kind, "function_ir")
        kind.function_ir = once


@pytest.fixture
def in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep models in float, for what is compared with other ways to run them to the bit."""
    from fxbin.binarizers import conv2d_fused

    monkeypatch.setattr(conv2d_fused, "training_engine", lambda: None)


@pytest.fixture
def built() -> "Engine":
    """The 1-bit engine; skips where no C compiler is."""
    from fxbin.engine.compiler import find_compilers
    from fxbin.engine.library import engine

    if not find_compilers():
        pytest.skip("no C compiler")
    found = engine()
    assert found is not None
    return found
