"""What is checked before a training: `fxbin check` and the start of `fxbin train` share this list."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fxbin.binarizers.ranks import rank_count
from fxbin.compiler.capture import capture
from fxbin.config import Config
from fxbin.config.changes import Change
from fxbin.config.example_inputs import example_inputs
from fxbin.errors import ConfigError, DataError, FxbinError, ScopeError
from fxbin.graph.node_info import operator_names
from fxbin.original.copy import copy_model
from fxbin.report.scope_rows import list_scopes
from fxbin.scopes.filter import ScopeFilter
from fxbin.staged.parameter_groups import parameter_groups
from fxbin.staged.progress import check_progress, check_progress_of
from fxbin.train.build import model_of
from fxbin.train.check_features import check_features
from fxbin.train.check_logits import check_logits
from fxbin.train.compiled import check_compiler
from fxbin.train.data.sizes import check_enough
from fxbin.train.loggers.choose import check_loggers
from fxbin.train.output_folder import check_room, check_writable
from fxbin.train.processes import is_first_process
from fxbin.train.settings import problems_in, read_settings
from fxbin.train.subject import Subject

Check = Callable[[Subject], Iterable[str | FxbinError]]
"""A check yields notes as texts, and problems as errors; an error that it raises is a problem as well."""


@dataclass(frozen=True)
class Findings:
    """What the checks have found."""

    problems: tuple[str, ...]
    """Errors with which `fxbin train` does not start."""

    notes: tuple[str, ...]
    """Settings that work, but perhaps not as intended."""


def keys_without_effect(subject: Subject) -> Iterator[str]:
    """Note keys that are accepted for configs of NNCF."""
    yield from subject.config.notes


def paths_elsewhere(subject: Subject) -> Iterator[str]:
    """Note files that are not where the config says; the file of the model must be somewhere."""
    yield from subject.located.notes


def stages_not_reached(subject: Subject) -> Iterator[str]:
    """Note each stage that a training of `epochs` does not reach."""
    config = subject.config
    if "epochs" not in config.model_fields_set:
        return
    params = config.binarization.params
    for key in ("activations_quant_start_epoch", "weights_quant_start_epoch", "lr_poly_drop_start_epoch"):
        start = getattr(params, key)
        if start is not None and start >= config.epochs:
            yield (
                f"compression.params.{key}: {start:g} is not reached in {config.epochs} epochs: "
                f"at least {math.floor(start) + 1} are needed"
            )


def weights_before_activations(subject: Subject) -> Iterator[str]:
    """Note a stage in which weights alone are binarized."""
    params = subject.config.binarization.params
    weights, activations = params.weights_quant_start_epoch, params.activations_quant_start_epoch
    if weights < activations:
        yield (
            f"compression.params.weights_quant_start_epoch: {weights:g} is before "
            f"activations_quant_start_epoch, {activations:g}, so weights are binarized first, alone. The "
            "usual order, in which networks lose less, is activations first"
        )


def start_as_in_nncf(subject: Subject) -> Iterator[str]:
    """Note that activations start as in NNCF, if the config does not ask for that."""
    section = subject.config.binarization
    is_asked_for = "activation_scale_init" in section.params.model_fields_set
    if section.activations.levels in (None, "zero_scale") and not is_asked_for:
        is_recommended = subject.config.preset == "recommended"
        other = "" if is_recommended else ', or preset to "recommended" (docs/presets.md)'
        yield (
            "params.activation_scale_init: not given, so scales start as in NNCF (quantile), which costs "
            f'several points of accuracy: set it to "mse"{other}'
        )


def device_is_there(subject: Subject) -> tuple[()]:
    """Find a device that this machine does not have."""
    _ = subject.device
    return ()


def output_can_be_written(subject: Subject) -> tuple[()]:
    """Find an output folder that cannot be written."""
    if subject.output is not None and is_first_process():
        check_writable(subject.output)
    return ()


def checkpoint_has_room(subject: Subject) -> tuple[()]:
    """Find a disk without room for one checkpoint: its weights alone, without moments and teacher."""
    if subject.output is not None and subject.has_model:
        needed = sum(value.nbytes for value in subject.network.state_dict().values())
        check_room(subject.output, needed)
    return ()


def loggers_are_installed(subject: Subject) -> tuple[()]:
    """Find loggers whose packages are missing."""
    check_loggers(subject.config)
    return ()


def compiler_works(subject: Subject) -> tuple[()]:
    """Find that `torch.compile` does not work here, if the config asks for it."""
    if subject.config.compile:
        check_compiler(subject.place)
    return ()


def data_fit(subject: Subject) -> Iterator[str]:
    """Find data that are not known or not there, or whose pictures or classes do not fit the config."""
    if not subject.names_data and subject.model is not None:
        return
    try:
        _ = subject.fitted
    except FxbinError as error:
        if subject.names_data:
            raise
        yield f"the config names no data, and `fxbin train` would not start with the default: {error}"
    else:
        yield from subject.data.notes


def classes_are_several(subject: Subject) -> tuple[()]:
    """Find data with one class, which leave nothing to learn."""
    if subject.has_data and len(subject.data.class_names) < 2:
        raise DataError(
            f"data: {subject.data.name!r} has only the class {subject.data.class_names[0]!r}, expected at "
            "least two to tell apart: add pictures of others."
        )
    return ()


def held_out_can_be_read(subject: Subject) -> tuple[()]:
    """Find pictures and labels that cannot be used in a sample of those that are held out.

    All of them are read after the first epoch.
    """
    if subject.has_data:
        _ = subject.has_readable_held_out
    return ()


def processes_get_pictures(subject: Subject) -> tuple[()]:
    """Find batches or data with fewer pictures than there are processes."""
    if subject.has_data:
        check_enough(subject.data.training_pictures, subject.config.batch_size, rank_count())
    return ()


def run_can_be_resumed(subject: Subject) -> tuple[()]:
    """Find a checkpoint of another config in the output folder."""
    if subject.has_data:
        _ = subject.resumed
    return ()


def pretrained_weights_are_there(subject: Subject) -> tuple[()]:
    """Find that a model has no trained weights to begin with, or that they cannot be had."""
    if (
        subject.config.pretrained
        and subject.model is None
        and subject.can_be_built
        and not subject.is_resumed
    ):
        model_of(subject.settings)
    return ()


def scopes_match(subject: Subject) -> Iterator[str | FxbinError]:
    """Find patterns that match nothing; note those that match by accident, and what is binarized."""
    if not subject.has_model:
        yield "no model: scopes are not compared. Name one with --model."
        return
    scopes = ScopeFilter.from_config(subject.settings)
    modules = dict(subject.network.named_modules(remove_duplicate=False))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what `transform` warns of is noted here
            module = subject.transformed
    except ScopeError:
        # All of them, while `transform` raises the first one.
        args, kwargs = example_inputs(subject.settings, subject.network)
        captured = capture(copy_model(subject.network), args, kwargs, scopes=scopes)
        names = operator_names([captured.graph])
        yield from map(ScopeError, scopes.unmatched(names, modules))
        yield from scopes.surprises(names)
        return
    names = operator_names(module.eval_graphs)
    if not subject.settings.binarization.validate_scopes:
        yield from scopes.unmatched(names, modules)
    yield from scopes.surprises(names)
    statuses = [row.status for row in list_scopes(module) if row.status]
    count = statuses.count("binarized")
    reasons = sorted({status.removeprefix("full precision: ") for status in statuses})
    why = "" if count else f" ({'; '.join(reasons)})"
    yield f"{count} of {len(statuses)} conv2d are binarized{why}"


def progress_has_an_end(subject: Subject) -> tuple[()]:
    """Find parts that change from epoch to epoch, if the config does not say over how many."""
    check_progress_of(subject.config.binarization)
    if subject.can_be_transformed:  # binarizers of the user's own may depend on the progress too
        check_progress(subject.transformed.binarization, subject.config.binarization.params)
    return ()


def logits_are_those_of_the_classes(subject: Subject) -> Iterator[str]:
    """Find a model without an output for each class; note one that has more."""
    if subject.has_data and subject.has_readable_held_out and subject.can_be_transformed:
        note = check_logits(subject)
        if note is not None:
            yield note


def weight_decay_is_excluded(subject: Subject) -> tuple[()]:
    """Find an expression in `wd_exclude` that matches no parameter."""
    if subject.can_be_transformed:
        parameter_groups(subject.transformed)
    return ()


def teacher_teaches(subject: Subject) -> tuple[()]:
    """Find a teacher that cannot be built, or whose outputs are not logits for the pictures."""
    if subject.has_data:
        _ = subject.teacher
    return ()


def features_are_there(subject: Subject) -> tuple[()]:
    """Find features to learn from that are not in both networks."""
    if subject.can_be_transformed:
        check_features(subject)
    return ()


CHECKS: tuple[Check, ...] = (
    keys_without_effect,
    paths_elsewhere,
    stages_not_reached,
    weights_before_activations,
    start_as_in_nncf,
    device_is_there,
    output_can_be_written,
    loggers_are_installed,
    compiler_works,
    data_fit,
    classes_are_several,
    held_out_can_be_read,
    processes_get_pictures,
    run_can_be_resumed,
    checkpoint_has_room,
    scopes_match,
    progress_has_an_end,
    pretrained_weights_are_there,
    logits_are_those_of_the_classes,
    weight_decay_is_excluded,
    teacher_teaches,
    features_are_there,
)
"""All checks, in the order in which their findings are shown."""


def check(
    source: str | Path | Mapping[str, Any] | Config,
    model: nn.Module | None = None,
    *,
    changes: Iterable[Change] = (),
    output: Path | None = None,
    restart: bool = False,
) -> Findings:
    """Check a config, with `changes`, and whether model, data and the folder `output` fit it.

    `model`, which does not change, takes the place of the one that the config names. With `restart`, a
    checkpoint in the folder counts for nothing. What follows from the config is checked only if the config
    itself has no problems.
    """
    changes = tuple(changes)
    if problems := problems_in(source, changes):
        return Findings(tuple(problems), ())
    notes, errors = find(Subject(read_settings(source, changes), output, restart=restart, model=model))
    return Findings(tuple(map(_text, errors)), tuple(notes))


def check_before_training(subject: Subject) -> list[str]:
    """The notes about the training `subject`.

    Raises the error if there is a problem, and ConfigError, which lists them, if there are several.
    """
    subject.is_training = True
    notes, errors = find(subject)
    subject.forget_networks()  # the training makes its own
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = "".join(f"\n  {_text(error)}" for error in errors)
        raise ConfigError(f"the training does not start: {len(errors)} problems{lines}")
    return notes


def find(subject: Subject) -> tuple[list[str], list[FxbinError]]:
    """The notes and the problems that the checks find, each once; random numbers stay as they are."""
    notes: list[str] = []
    errors: dict[str, FxbinError] = {}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for run in CHECKS:
            try:
                for found in run(subject):
                    if isinstance(found, FxbinError):
                        errors.setdefault(str(found), found)
                    else:
                        notes.append(found)
            except FxbinError as error:
                errors.setdefault(str(error), error)
    return notes, [*errors.values()]


def _text(error: FxbinError) -> str:
    """The message of `error` with its notes."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])
