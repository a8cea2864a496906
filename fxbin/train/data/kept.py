"""What a run keeps of its data: names of the classes, how pictures become inputs, which were held out."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fxbin.errors import CheckpointError
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.split import identity_of

CLASSES = "fxbin.classes"
"""Metadata key of an exported file: the names of the classes by label, as a JSON list."""

PICTURES = "fxbin.pictures"
"""Metadata key of an exported file: the fields of `Preprocessing`, as a JSON object."""


def metadata_of(kept: Mapping[str, Any] | None) -> dict[str, str]:
    """Entries for the metadata of an exported file, from what `Data.kept` returned."""
    names = {"classes": CLASSES, "pictures": PICTURES}
    return {names[key]: json.dumps(value) for key, value in (kept or {}).items() if key in names}


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


def check_same_preprocessing(kept: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raise CheckpointError if pictures become inputs otherwise than in the run that kept `kept`."""
    before, after = preprocessing(kept), preprocessing(now)
    if before is not None and after is not None and before != after:
        raise CheckpointError(
            f"data: the run was started with inputs of {before}, now they are of {after}. Restore the data, "
            "choose another folder with --output, or start over with --restart."
        )


def kept_of_held_out(names: Iterable[str], *, is_share: bool) -> dict[str, Any]:
    """An entry of `Data.kept` about the held-out pictures with these `names`.

    `is_share` says that they are a share of those that there are, for which nothing but fxbin chose them.
    """
    every = list(names)
    return {"held_out": {"pictures": len(every), "identity": identity_of(every), "is_share": is_share}}


def why_not_held_out(kept: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    """Why pictures that are held out `now` may be others than in the run that kept `kept`; None if not."""
    if not kept or not now or "held_out" not in now:
        return None
    after = now["held_out"]
    if "held_out" not in kept:
        # Kept since shares are chosen by name.
        chosen = "the run was started with an earlier version of fxbin, which chose other held-out pictures"
        return chosen if after["is_share"] else None
    before = kept["held_out"]
    if before["identity"] == after["identity"]:
        return None
    number = f"{before['pictures']}" + (
        f", now {after['pictures']}" if after["pictures"] != before["pictures"] else ""
    )
    return (
        f"the held-out pictures ({number}) are not those that the run was started with: pictures were added, "
        "removed, renamed or moved"
    )


def check_same_held_out(kept: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raise CheckpointError if other pictures are held out than those that a run was started with."""
    if why := why_not_held_out(kept, now):
        raise CheckpointError(
            f"data: {why}. If the run went on, it might be trained on pictures that it is evaluated on. "
            "Restore the data, choose another folder with --output, or start over with --restart."
        )
