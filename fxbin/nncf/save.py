"""Writes a checkpoint for NNCF: `save_nncf_checkpoint`."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.atomic_write import replacing
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import CheckpointError
from fxbin.nncf.content import ALGORITHM
from fxbin.nncf.keys import Entry, entries, foreign_sites, unlike_nncf
from fxbin.nncf.stage import ENUM_MODULE, ENUM_NAME, CompressionStage

MODES = ("xnor", "dorefa")
"""Modes that NNCF has."""


def save_nncf_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    epoch: int | None = None,
    step: int = -1,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint that NNCF 2.9 loads; a crash leaves the old file or the new one.

    The file has the keys of NNCF's sample scripts: `state_dict`, `compression_state` and `epoch`. There,
    ``create_compressed_model(net, config, compression_state=file["compression_state"])`` and then
    ``nncf.torch.load_state(net, file["state_dict"], is_resume=True)`` restore the model.

    Args:
        model: a model that `transform` returned.
        path: the file to write; its folder is made.
        epoch: the epoch that was started last, from 0, or -1. By default the first epoch for which the config
            enables exactly the binarizers that are enabled in `model`.
        step: NNCF's count of steps, from which it goes on counting.
        extra: further entries: `arch`, `best_acc1`, `optimizer`, ...

    Raises:
        CheckpointError: NNCF's format cannot represent something in the model; the message lists all of it.
        TransformError: `model` does not come from `transform`.
    """
    module = transformed(model, "save_nncf_checkpoint")
    state_dict, problems = _state_dict(module)
    problems += [f"{name}: {why}" for name, why in foreign_sites(module).items()]
    problems += _settings(module)
    begun = _epoch_of(module) if epoch is None else epoch
    if begun is None:
        problems.append("the enabled binarizers do not match any stage of the config: pass `epoch`")
    if problems:
        raise CheckpointError(
            "\n".join([f"{path}: NNCF's format cannot represent", *(f"  {p}" for p in problems)])
        )
    assert begun is not None
    content = {
        **(extra or {}),
        "epoch": begun + 1,
        "state_dict": state_dict,
        "compression_state": _compression_state(module, begun, step),
    }
    _write(content, Path(path))


def _state_dict(module: BinarizedModule) -> tuple[OrderedDict[str, Tensor], list[str]]:
    own = module.state_dict()
    found: OrderedDict[str, Tensor] = OrderedDict()
    problems = []
    for entry in entries(module):
        if entry.own is None:
            found[entry.nncf] = torch.zeros(1)
            continue
        if entry.own not in own:  # binarizers that `unlike_nncf` tells of have other parameters
            continue
        tensor = _flag(own[entry.own]) if entry.is_flag else _per_group(own[entry.own], entry)
        if tensor is None:
            problems.append(f"{entry.own}: NNCF has the same thresholds for each group of channels")
        else:
            found[entry.nncf] = tensor.detach().cpu()
    return found, problems


def _flag(tensor: Tensor) -> Tensor:
    """A flag as NNCF stores it, as an integer; an average of off and on becomes on."""
    return tensor.where(tensor <= 0, 1).round().int()


def _per_group(tensor: Tensor, entry: Entry) -> Tensor | None:
    """A threshold ``(1, in, 1, 1)`` as NNCF's ``(1, in / groups, 1, 1)``; None if groups differ.

    Other tensors stay as they are.
    """
    if entry.groups == 1:
        return tensor
    first = tensor[:, : tensor.shape[1] // entry.groups]
    return first.clone() if torch.equal(first.repeat(1, entry.groups, 1, 1), tensor) else None


def _rewritten(module: BinarizedModule) -> list[str]:
    """Names of the rewrites that have changed something."""
    found = (each for at_site in module.binarization.rewrites.values() for each in at_site)
    return [*dict.fromkeys(each.rewrite for each in found if each.change)]


def _settings(module: BinarizedModule) -> list[str]:
    """Sentences about settings with which NNCF would compute something else."""
    section, problems = module.binarization.config.binarization, []
    if changed := _rewritten(module):
        problems.append(f"compression.rewrites: NNCF has no {', '.join(changed)}")
    if section.mode not in MODES:
        problems.append(f"mode {section.mode!r}: NNCF has {' and '.join(MODES)}")
    if section.mode == "xnor" and section.params.weight_scale_axis != "output":
        problems.append(f"params.weight_scale_axis {section.params.weight_scale_axis!r}: NNCF has 'output'")
    return problems + unlike_nncf(module)


def _epoch_of(module: BinarizedModule) -> int | None:
    """The first epoch in which the config enables exactly the binarizers that are enabled now.

    None if there is none; -1 is before the first epoch.
    """
    params, enabled = module.binarization.config.binarization.params, module.binarization.enabled.values()
    if len(set(enabled)) > 1:
        return None
    now = next(iter(enabled), (False, False))
    starts = (params.activations_quant_start_epoch, params.weights_quant_start_epoch)
    for epoch in sorted({-1, *(int(-(-start // 1)) for start in starts)}):
        if tuple(max(epoch, 0) >= start for start in starts) == now:
            return epoch
    return None


def _compression_state(module: BinarizedModule, epoch: int, step: int) -> dict[str, Any]:
    params = module.binarization.config.binarization.params
    stage = CompressionStage.at(
        epoch >= params.activations_quant_start_epoch, epoch >= params.weights_quant_start_epoch
    )
    controller = {
        "loss_state": None,
        "scheduler_state": {"current_step": step, "current_epoch": epoch},
        "compression_stage": stage,
    }
    return {"builder_state": {ALGORITHM: {}}, "ctrl_state": {ALGORITHM: controller}}


class _Pickler(torch_private.PythonPickler):  # typeshed does not know its methods
    """Writes fxbin's `CompressionStage` under the name of NNCF's enum.

    The usual ways to name a class in a pickle would import it, and NNCF need not be installed.
    """

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Write `obj`; pickle calls this method for each object inside another one as well."""
        save: Callable[..., None] = super().save  # type: ignore[misc]
        if isinstance(obj, CompressionStage):
            write: Callable[[bytes], None] = self.write  # type: ignore[attr-defined]
            write(pickle.GLOBAL + f"{ENUM_MODULE}\n{ENUM_NAME}\n".encode())
            save((int(obj),))
            write(pickle.REDUCE)
        else:
            save(obj, save_persistent_id)


class _PickleModule:
    """The part of the module `pickle` that `torch.save` uses."""

    Pickler = _Pickler


def _write(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path` atomically; raise CheckpointError if it cannot be written."""
    try:
        with replacing(path) as stream:
            torch.save(content, stream, pickle_module=_PickleModule)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
