"""Checks that a training loop trains the model that its schedule controls."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import BinarizationState
from fxbin.binarized.unwrap import unwrapped
from fxbin.binarized.weight_source import weight_sources
from fxbin.errors import TransformError
from fxbin.errors.messages import listed


def optimizers_of(optimizer: Any) -> tuple[Optimizer, ...]:
    """One optimizer, or a list or tuple of them, as a tuple. Raises TransformError for anything else."""
    found = tuple(optimizer) if isinstance(optimizer, list | tuple) else (optimizer,)
    if not found:
        raise TransformError("optimizer: expected at least one torch.optim.Optimizer, got none")
    for each in found:
        # Not by class: wrappers such as Lightning's are not subclasses of torch's optimizers.
        if not isinstance(getattr(each, "param_groups", None), list):
            hint = (
                ". Pass the optimizer that it drives; the scheduler itself may be used until "
                "lr_poly_drop_start_epoch"
                if isinstance(each, LRScheduler)
                else ", or a list of them: StagedSchedule(model, optimizer)"
            )
            raise TransformError(
                f"optimizer: expected a torch.optim.Optimizer, got {type(each).__name__}{hint}."
            )
    return found


def has_parameters_of(optimizer: Optimizer, model: nn.Module) -> bool:
    """Whether `optimizer` trains any parameter of `model`."""
    own = {id(parameter) for parameter in model.parameters()}
    return any(id(p) in own for group in optimizer.param_groups for p in group["params"])


def check_optimizers(model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Raise TransformError if one of `optimizers` has no parameter of `model`.

    Warn if together they lack scales, thresholds or binarized weights that are not frozen.
    """
    for optimizer in optimizers:
        if not has_parameters_of(optimizer, model):
            raise TransformError(
                "optimizer: it has none of the model's parameters. fxbin.transform returns a copy: "
                "build the optimizer from the parameters of that copy."
            )
    trained = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    inner = unwrapped(model)
    staged = {id(parameter) for parameter in _staged(inner) if parameter.requires_grad}
    left_out = [name for name, p in inner.named_parameters() if id(p) in staged - trained]
    if left_out:
        several = "them" if len(optimizers) > 1 else "it"
        warnings.warn(
            f"optimizer: {len(left_out)} of the {len(staged)} parameters that binarized layers learn are not "
            f"in {several} and would stay as they are: {listed(left_out)}. Build it from "
            "fxbin.parameter_groups(model). If that is intended, freeze them with requires_grad_(False); "
            "if another optimizer has them, pass both: StagedSchedule(model, [first, second]).",
            stacklevel=3,
        )


def _staged(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of binarized layers: scales, thresholds, and the real-valued weights."""
    state = model.binarization
    assert isinstance(state, BinarizationState)
    yield from state.parameters()
    if isinstance(model, BinarizedModule):
        for source in weight_sources(model).values():
            yield from source.parameters()


class _Steps:
    """Whether an optimizer has made a step since `happened` was set to False."""

    def __init__(self) -> None:
        self.happened = False

    @classmethod
    def of(cls, optimizer: Any) -> "_Steps | None":
        """Note the steps of `optimizer` from now on; None if it has no hooks, as some wrappers."""
        steps = cls()

        def note(*_: Any) -> None:
            steps.happened = True  # and not counted, for which torch.compile would compile a step anew

        try:
            optimizer.register_step_post_hook(note)
        except AttributeError:
            return None
        return steps


class EpochWatch:
    """Warns after an epoch that did not train the model, or in which call sites saw no training batch.

    It warns only once about each call site, and checks for changed parameters only until an epoch with a
    learning rate above 0 is over.
    """

    def __init__(self, state: BinarizationState, optimizers: Sequence[Optimizer]) -> None:
        self._state = state
        self._optimizers = optimizers
        self._had_no_batch: set[str] = set()
        """Call sites that were binarized when the epoch began, with a scale that had seen no batch."""
        self._versions: dict[int, int] = {}
        """Autograd's version counter of each parameter, by id, when the epoch began."""
        self._has_trained = False
        self.is_under_way = False
        """Whether the schedule has made a step since `begin`: an epoch that was loaded is over already."""
        self._steps = [found for optimizer in optimizers if (found := _Steps.of(optimizer)) is not None]
        self._warned: set[str] = set()

    def begin(self) -> None:
        """Record the state at the start of an epoch; called once the binarizers are switched for it."""
        self._had_no_batch = self._waiting()
        self._versions = self._parameter_versions()
        self.is_under_way = False
        for steps in self._steps:
            steps.happened = False

    def end(self) -> None:
        """Warn about the epoch since `begin`, which is over now."""
        if not self._has_trained and any(group["lr"] > 0 for group in self._groups()):
            self._has_trained = True
            if self._is_unchanged():
                warnings.warn(
                    "optimizer: the last epoch changed none of its parameters. Train the model that "
                    "fxbin.transform returned, not the one it was made from, and call schedule.step after "
                    "optimizer.step.",
                    stacklevel=3,
                )
        if self._is_trained_by_others():
            self._steps = []
            warnings.warn(
                "optimizer: the last epoch changed its parameters, but not by its step. If another optimizer "
                "trains them now, make a StagedSchedule with that one: learning rate and weight decay are "
                "set in the one that the schedule was made with.",
                stacklevel=3,
            )
        unseen = sorted(self._had_no_batch & self._waiting() - self._warned)
        if unseen:
            self._warned.update(unseen)
            warnings.warn(
                f"activations were binarized for a whole epoch, and no training batch came through "
                f"{listed(unseen)}: the scale is where it was before training. Train the model that "
                "fxbin.transform returned, in train mode (model.train() after each evaluation); put layers "
                "that training does not run in ignored_scopes.",
                stacklevel=3,
            )

    def _waiting(self) -> set[str]:
        """Names of call sites whose activations are binarized with a scale that has seen no batch."""
        sites = self._state.sites.items()
        return {
            name
            for name, site in sites
            if site.activation.is_enabled
            and not site.activation.is_scale_initialized
            and not site.activation.batches_seen
        }

    def _is_trained_by_others(self) -> bool:
        has_stepped = any(steps.happened for steps in self._steps)
        return bool(self._steps) and not has_stepped and self._versions != self._parameter_versions()

    def _is_unchanged(self) -> bool:
        """Whether no optimizer can have changed a parameter since `begin`.

        Optimizers that bypass autograd's counters by writing to `Tensor.data` keep a state per parameter.
        """
        has_state = any(optimizer.state for optimizer in self._optimizers)
        return not has_state and self._versions == self._parameter_versions()

    def _parameter_versions(self) -> dict[int, int]:
        return {id(p): torch_private.version(p) for group in self._groups() for p in group["params"]}

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]
