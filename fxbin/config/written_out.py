"""Tells configs that `Config.to_dict` has written, defaults included, from those that a user wrote."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

SECTION = {"mode", "params", "activations", "weights", "validate_scopes", "call_sites"}
PARAMS = {
    *("batch_multiplier", "base_lr", "base_wd", "lr_poly_drop_duration_epochs"),
    *("activations_quant_start_epoch", "weights_quant_start_epoch"),
    *("weight_scale_axis", "activation_scale_init", "activation_threshold_init", "activation_init_batches"),
}
"""Keys that `to_dict` has always written since there are parts, and nobody writes all of.

Those of `compression` alone, which may be taken into another config.
"""


def is_written_out(data: Mapping[str, Any]) -> bool:
    """Whether `compression` has each key with its value, so that nothing tells which ones the user wrote.

    Checkpoints and reports hold such configs, also those of earlier versions, whose files bear no mark.
    """
    _, section = own_section(data)
    params = section.get("params")
    return section.keys() >= SECTION and isinstance(params, Mapping) and params.keys() >= PARAMS


def own_section(data: Mapping[str, Any]) -> tuple[tuple[str | int, ...], Mapping[str, Any]]:
    """Path and content of the algorithm section in `data`; empty if it has none, or one that is invalid."""
    section = data.get("compression")
    path: tuple[str | int, ...] = ("compression",)
    if isinstance(section, list | tuple) and len(section) == 1:
        path, section = ("compression", 0), section[0]
    if isinstance(section, BaseModel):
        section = section.model_dump(exclude_unset=True)
    return path, section if isinstance(section, Mapping) else {}


def value_at(content: Any, keys: tuple[str, ...]) -> Any:
    """The value at `keys` in nested mappings; None if there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content
