"""What a run keeps of its data: the names of the classes, and how pictures become inputs of its model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fxbin.errors import CheckpointError
from fxbin.train.data.preprocessing import Preprocessing

CLASSES = "fxbin.classes"
"""Metadata key of an exported file: the names of the classes by label, as a JSON list."""

PICTURES = "fxbin.pictures"
"""Metadata key of an exported file: the fields of `Preprocessing`, as a JSON object."""


def metadata_of(kept: Mapping[str, Any] | None) -> dict[str, str]:
    """Entries for the metadata of an exported file, from what `Data.kept` returned."""
    names = {"classes": CLASSES, "pictures": PICTURES}
    return {names[key]: json.dumps(value) for key, value in (kept or {}).items()}


def kept_in_file(path: Path) -> dict[str, Any] | None:
    """What `metadata_of` wrote into the ONNX file at `path`; None if there is nothing."""
    import onnx

    entries = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    names = {"classes": CLASSES, "pictures": PICTURES}
    found = {key: json.loads(entries[name]) for key, name in names.items() if name in entries}
    return found or None


def class_names(kept: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The names of the classes, by label; None if they have none but their numbers."""
    return tuple(kept["classes"]) if kept and "classes" in kept else None


def preprocessing(kept: Mapping[str, Any] | None) -> Preprocessing | None:
    """How pictures become inputs of the model; None if that is not known."""
    return Preprocessing.from_dict(kept["pictures"]) if kept and "pictures" in kept else None


def check_same_classes(kept: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raise CheckpointError if the classes of the data are not those that a run was started with."""
    before, after = class_names(kept), class_names(now)
    if before is not None and after is not None and before != after:
        gone, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
        raise CheckpointError(
            f"data: the run was started with {len(before)} classes, now there are {len(after)} "
            f"(gone: {', '.join(gone) or 'none'}; new: {', '.join(new) or 'none'}). Restore the data, choose "
            "another folder with --output, or start over with --restart."
        )
