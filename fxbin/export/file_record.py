"""The metadata of an exported file about its content, and the check for what tools have removed since."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fxbin.export import binary_conv2d
from fxbin.export.fake_quantize import DOMAIN, NAME
from fxbin.export.report import Operators

if TYPE_CHECKING:
    import onnx

OPERATORS = "fxbin.operators"
"""Metadata key of a file: the value of `Operators` it was exported with."""

CALLS = "fxbin.fake_quantize"
"""Metadata key of a file: its number of FakeQuantize nodes, two for each call site in 1 bit."""

ENGINE_CALLS = "fxbin.binary_conv2d"
"""Metadata key of a file with ``operators="fxbin"``: its number of nodes of fxbin's domain."""


@dataclass(frozen=True)
class FileRecord:
    """Content of a file when `export_onnx` wrote it, and losses since then."""

    operators: Operators
    """The operators it was exported with."""

    calls: int
    """The number of FakeQuantize nodes, or of nodes of fxbin's domain, with which it was exported."""

    lost: str
    """A sentence on what a tool has removed since, which tools do that, and what to do; or empty."""


def write_record(model: "onnx.ModelProto", operators: Operators) -> None:
    """Write the operators and the number of their nodes into the metadata of the finished `model`."""
    model.metadata_props.add(key=OPERATORS, value=operators)
    model.metadata_props.add(key=CALLS, value=str(_calls(model, DOMAIN)[NAME]))
    if operators == "fxbin":
        calls = _calls(model, binary_conv2d.DOMAIN)
        model.metadata_props.add(key=ENGINE_CALLS, value=str(calls.total()))


def read_record(path: Path) -> FileRecord | None:
    """Return the record in the ONNX file at `path`; None if there is none, or the file is damaged."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        return None
    notes = {entry.key: entry.value for entry in model.metadata_props}
    if OPERATORS not in notes or CALLS not in notes:
        return None
    if notes[OPERATORS] == "fxbin":
        calls = int(notes.get(ENGINE_CALLS, 0))
        return FileRecord("fxbin", calls, _what_the_engine_lost(model, calls))
    calls = int(notes[CALLS])
    return FileRecord(cast("Operators", notes[OPERATORS]), calls, _what_is_lost(model, calls))


def _calls(model: "onnx.ModelProto", domain: str) -> Counter[str]:
    """Return the number of calls of each operator in `domain`."""
    return Counter(node.op_type for node in model.graph.node if node.domain == domain)


def _what_the_engine_lost(model: "onnx.ModelProto", promised: int) -> str:
    calls = _calls(model, binary_conv2d.DOMAIN)
    defined = {function.name for function in model.functions if function.domain == binary_conv2d.DOMAIN}
    undefined = sorted(set(calls) - defined)
    if undefined:
        return (
            f"The file calls {binary_conv2d.DOMAIN}::{undefined[0]} but no longer defines it, so runtimes "
            "without fxbin's operators reject it: a tool such as onnx's version_converter has dropped its "
            "functions. Use the file that fxbin.export_onnx wrote; its opset= writes other versions."
        )
    found = sum(calls[name] for name in binary_conv2d.OPERATORS)
    if found < promised:
        return (
            f"The file calls {found} of its {promised} operators of fxbin, and the others run in float: a "
            "tool has inlined its functions, as onnx.inliner and onnxruntime's optimized_model_filepath do, "
            "or renamed them, as onnx.compose does with a prefix. Use the file that fxbin.export_onnx wrote."
        )
    return ""


def _what_is_lost(model: "onnx.ModelProto", promised: int) -> str:
    calls = _calls(model, DOMAIN)
    defined = {function.name for function in model.functions if function.domain == DOMAIN}
    renamed = sorted(name for name in calls if name != NAME and name in defined)
    if renamed:
        return (
            f"The file calls its function {NAME} {renamed[0]!r} now, a name that OpenVINO does not know, as "
            "onnx.compose does with a prefix. Call onnx.compose.add_prefix(model, prefix, "
            "rename_functions=False) first, and merge without one."
        )
    if calls[NAME] and NAME not in defined:
        return (
            f"The file calls {DOMAIN}::{NAME} but no longer defines it, so onnxruntime and others reject it: "
            "a tool such as onnx's version_converter has dropped its functions. Use the file that "
            "fxbin.export_onnx wrote; its opset= writes other versions."
        )
    if promised and not calls[NAME]:
        return (
            f"The {promised} nodes {NAME} of the file have become plain operators, which OpenVINO runs in "
            "float: a tool has inlined its functions, as onnx.inliner and onnxruntime's "
            "optimized_model_filepath do. Give OpenVINO the file that fxbin.export_onnx wrote."
        )
    if calls[NAME] < promised:
        return (
            f"The file has {calls[NAME]} of its {promised} nodes {NAME}: a tool has computed the others, as "
            "constants, and OpenVINO computes wrong numbers from half a pattern. onnxslim does that: give it "
            "--skip-optimizations constant_folding."
        )
    return ""
