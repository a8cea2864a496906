"""Finds everything that is wrong or surprising in a config, also for a model, before training."""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.capture import capture
from fxbin.compiler.selection import select
from fxbin.config import Config, check_config, load_config
from fxbin.config.example_inputs import example_inputs
from fxbin.errors import FxbinError
from fxbin.graph.node_info import operator_names
from fxbin.scopes.filter import ScopeFilter
from fxbin.train.captured_features import check_modules


@dataclass(frozen=True)
class Findings:
    """The result of `check`."""

    problems: tuple[str, ...]
    """All errors that `transform` would raise."""

    notes: tuple[str, ...]
    """Settings that work, but perhaps not as intended."""


def check(source: str | Path | Mapping[str, Any] | Config, model: nn.Module | None = None) -> Findings:
    """Check a config and, if there is a `model`, whether inputs and scopes match it; it does not change.

    Scopes are checked only if the config itself has no problems.
    """
    problems = tuple(str(problem) for problem in check_config(source))
    if problems:
        return Findings(problems, ())
    config = load_config(source)
    notes = (*config.notes, *_notes_on_stages(config), *_notes_on_starts(config))
    if model is None:
        return Findings((), notes)
    try:
        args, kwargs = example_inputs(config, model)
        module = capture(copy.deepcopy(model), args, kwargs, scopes=ScopeFilter.from_config(config))
        _check_features(config, model)
    except FxbinError as error:
        return Findings((str(error),), notes)
    in_scopes = _check_scopes(module, config)
    return Findings(in_scopes.problems, (*notes, *in_scopes.notes))


def _check_features(config: Config, model: nn.Module) -> None:
    """Raise ConfigError if `model` lacks a module of `distillation.features`, unless rewrites may add it."""
    own = config.distillation
    if own.enabled and not config.binarization.rewrites:
        check_modules("distillation.features", own.features, model)


def _check_scopes(module: BinarizedModule, config: Config) -> Findings:
    scopes = ScopeFilter.from_config(config)
    names = operator_names([module.graph])
    unmatched, surprises = tuple(scopes.unmatched(names)), tuple(scopes.surprises(names))
    if unmatched and config.binarization.validate_scopes:
        return Findings(unmatched, surprises)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are in `surprises` and `unmatched`
        decisions = select(module, config).values()
    count = sum(decision.binarized for decision in decisions)
    why = "" if count else f" ({'; '.join(sorted({decision.reason for decision in decisions}))})"
    return Findings((), (*unmatched, *surprises, f"{count} of {len(decisions)} conv2d are binarized{why}"))


def _notes_on_starts(config: Config) -> Iterator[str]:
    """Yield a note if activations start as in NNCF, and the config does not ask for that."""
    section = config.binarization
    is_asked_for = "activation_scale_init" in section.params.model_fields_set
    if section.activations.levels in (None, "zero_scale") and not is_asked_for:
        yield (
            "params.activation_scale_init: not given, so scales start as in NNCF (quantile), which costs "
            'several points of accuracy: set it to "mse", or preset to "recommended"'
        )


def _notes_on_stages(config: Config) -> Iterator[str]:
    """Yield a note for each stage that a training of `epochs` does not reach."""
    if "epochs" not in config.model_fields_set:
        return
    params = config.binarization.params
    for key in ("activations_quant_start_epoch", "weights_quant_start_epoch"):
        start = getattr(params, key)
        if start >= config.epochs:
            yield (
                f"compression.params.{key}: {start:g} is not reached in {config.epochs} epochs: "
                f"at least {math.floor(start) + 1} are needed"
            )
