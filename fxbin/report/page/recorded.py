"""Checks what a training loop has recorded of its epochs, and makes plain numbers of it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from fxbin.errors import ExportError
from fxbin.report.page.curve_data import NO_CURVE, Epochs


def plain_epochs(epochs: Any, sites: Collection[str]) -> Epochs:
    """`epochs` with numbers of Python instead of tensors and NumPy's, for a model with these call sites.

    Raises ExportError if `epochs` is not a list of mappings, a value is not a number, or diagnostics are not
    those of the model. Values that are None are kept: nothing was recorded.
    """
    if not isinstance(epochs, Sequence) or isinstance(epochs, str | bytes):
        raise ExportError(f"epochs: expected a list with one mapping for each epoch, got {_kind(epochs)}")
    for position, epoch in enumerate(epochs):
        if not isinstance(epoch, Mapping):
            raise ExportError(
                f"epochs[{position}]: expected a mapping such as {{'stage': ..., 'loss': ...}}, got "
                f"{_kind(epoch)}"
            )
    return [_plain(epoch, f"epochs[{position}]", sites) for position, epoch in enumerate(epochs)]


def _plain(epoch: Mapping[Any, Any], name: str, sites: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in epoch.items():
        if not isinstance(key, str):
            raise ExportError(f"{name}: expected names as keys, got {key!r}")
        if key == "diagnostics":
            _check_diagnostics(value, f"{name}[{key!r}]", sites)
        found[key] = value if key in NO_CURVE else _number(value, f"{name}[{key!r}]")
    return found


def _number(value: Any, name: str) -> float | None:
    """`value` as a number of Python; tensors and arrays may hold one."""
    if value is None:
        return None
    held = value.detach() if isinstance(value, Tensor) else value
    item = getattr(held, "item", None)
    try:
        number = item() if callable(item) else held
        if isinstance(number, bool | str | bytes):
            raise TypeError  # which `float` would take
        return float(number)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ExportError(
            f"{name}: expected a number, or None where there is none, got {_kind(value)}. Record it as a "
            "number, or leave the key out."
        ) from error


def _check_diagnostics(value: Any, name: str, sites: Collection[str]) -> None:
    """Raise ExportError unless `value` is None or the diagnostics of a model with call sites `sites`."""
    if value is None:
        return
    expected = "expected DiagnosticsReport.to_dict()"
    if not isinstance(value, Mapping):
        raise ExportError(f"{name}: {expected}, got {_kind(value)}")
    rows = value.get("sites")
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) and "name" in row for row in rows):
        raise ExportError(f"{name}: {expected}, got a mapping without its list of call sites, 'sites'")
    for key in ("fired", "flipped"):
        for place, row in (("", value), *((f"['sites'][{i}]", row) for i, row in enumerate(rows))):
            if not isinstance(row.get(key), int | float | None):
                raise ExportError(f"{name}{place}[{key!r}]: {expected}, got {_kind(row[key])}")
    unknown = next((row["name"] for row in rows if row["name"] not in sites), None)
    if unknown is not None:
        raise ExportError(
            f"{name}: diagnostics of another model: {unknown!r} is not a binarized call site of this one"
        )


def _kind(value: object) -> str:
    """What kind of value that is, and which if it is short: ``"str 'abc'"``, ``"Tensor of shape (2, 3)"``."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    shown = repr(value)
    return f"{type(value).__name__} {shown}" if len(shown) <= 40 else type(value).__name__
