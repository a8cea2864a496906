"""Registers the engine as operators of onnxruntime."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from fxbin.engine.build import built_library
from fxbin.errors import EngineError

if TYPE_CHECKING:
    import onnxruntime

OLDEST = (1, 18)
"""Oldest version of onnxruntime that reads the exported files. Operators can use its threads since 1.17."""

_registered: "WeakSet[onnxruntime.SessionOptions]" = WeakSet()
"""Those that have the operators."""


def register_custom_ops(options: "onnxruntime.SessionOptions") -> Path:
    """Register fxbin's operators in `options`: sessions then run files of `fxbin.export_onnx` in 1 bit.

        options = onnxruntime.SessionOptions()
        fxbin.register_custom_ops(options)
        session = onnxruntime.InferenceSession("model.onnx", options)

    This concerns files with ``operators="fxbin"``; others run as before. Registering twice is as good as
    once. The library is built if it does not exist yet. It uses the threads of the session, and needs neither
    Python nor PyTorch: it is registered by its function ``RegisterCustomOps``, which onnxruntime finds from
    any language.

    Returns:
        The path of the registered library, which a program without Python can register as well, on a machine
        of the same kind.

    Raises:
        EngineError: onnxruntime is not installed or too old, `options` are not its SessionOptions, or the
            library cannot be built. Files also run without the library, in float.
    """
    runtime = _installed()
    if not isinstance(options, runtime.SessionOptions):
        raise EngineError(
            f"options: expected onnxruntime.SessionOptions, got {type(options).__name__}; give the session "
            "the same object: InferenceSession(path, options)"
        )
    library = built_library()
    if options not in _registered:  # onnxruntime takes operators of a name only once
        options.register_custom_ops_library(str(library))
        _registered.add(options)
    return library


def _installed() -> Any:
    if find_spec("onnxruntime") is None:
        raise EngineError('onnxruntime not found: pip install "fxbin[onnx]"')
    runtime = import_module("onnxruntime")
    if tuple(int(part) for part in runtime.__version__.split(".")[:2]) < OLDEST:
        raise EngineError(
            f"onnxruntime is {runtime.__version__}, fxbin's operators need {OLDEST[0]}.{OLDEST[1]} or newer: "
            'pip install --upgrade "fxbin[onnx]"'
        )
    return runtime
