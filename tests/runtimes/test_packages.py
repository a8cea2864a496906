"""Which parts of fxbin import which."""

import ast
from collections.abc import Iterator
from pathlib import Path

import fxbin

ROOT = Path(fxbin.__file__).parent


def imports_at_load(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_what_compares_runtimes_is_not_built_on_one_of_them() -> None:
    found = {name for path in (ROOT / "runtimes").glob("*.py") for name in imports_at_load(path)}
    assert any(name.startswith("fxbin.export.") for name in found)
    assert not any(name.startswith(("fxbin.openvino", "openvino", "onnxruntime")) for name in found)
