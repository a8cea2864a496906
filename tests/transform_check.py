"""What transform promises of any model, checked on one of them.

Each check returns problems as sentences, none where the promise is kept. "Differs" means by a bit.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ActivationBinarizer
from fxbin.errors import FxbinError

Args = tuple[Any, ...]
CONFIG = {
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {"algorithm": "binarization", "mode": "xnor"},
}


@dataclass
class Case:
    """A model and what to call it with."""

    model: nn.Module
    inputs: Callable[[int], Args]
    """Positional inputs for a batch of that size, the same ones at each call."""

    trains: bool = True
    """Whether these inputs are enough to train with."""


@dataclass
class Result:
    """What was found out about one model."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be checked, since the original cannot do it either."""

    sites: int = 0
    islands: int = 0


def check(case: Case) -> Result:
    """Transform the model, traced at batch 1, and hold it against the original."""
    model, result = case.model, Result()
    torch.manual_seed(0)
    binarized = _transform(model, case, result)
    result.sites = len(binarized.binarization.sites)
    result.islands = len(getattr(binarized, "islands", ()))
    result.problems += _keys(model, binarized)
    result.problems += _eval(model, binarized, case, 5, "eval")
    trained = _train(model, binarized, case, result) if case.trains else None
    result.problems += _eval(model, binarized, case, 2, "eval after train")
    result.problems += _graphs(binarized)
    result.problems += _deepcopy(binarized, case)
    _other_dtype(model, binarized, case, result)
    _one_bit(model, binarized, case, result, trained)
    result.problems += _round_trip(model, binarized, case)
    return result


def _transform(model: nn.Module, case: Case, result: Result) -> BinarizedModule:
    before = [tensor.clone() for tensor in model.state_dict().values()]
    binarized = fxbin.transform(model, CONFIG, example_inputs=case.inputs(1))
    if not same(before, [*model.state_dict().values()]):
        result.problems.append("transform changed the original")
    return binarized


def _keys(model: nn.Module, binarized: nn.Module) -> Iterator[str]:
    wanted = [*model.state_dict()]
    found = [key for key in binarized.state_dict() if "_binarizer" not in key]
    if found != wanted:
        missing, extra = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
        yield f"state_dict: missing {missing[:3]}, extra {extra[:3]}, or another order"


@torch.no_grad()
def _eval(model: nn.Module, binarized: nn.Module, case: Case, batch: int, when: str) -> Iterator[str]:
    x = case.inputs(batch)
    if not same(_run(model.eval(), x), _run(binarized.eval(), x)):
        yield f"{when}: output differs at batch {batch}"
    if not same([*model.buffers()], _buffers(model, binarized)):
        yield f"{when}: buffers differ"


def _graphs(binarized: BinarizedModule) -> Iterator[str]:
    """Nobody has changed the model, so graphs are what runs, unless forward sets attributes."""
    for choice in (binarized._graph_choice, *binarized.traced_parts.values()):
        sets_attributes = any(
            variant.premises and variant.premises.final_values for variant in choice.variants
        )
        if choice.chosen() is choice.own_code and not sets_attributes:
            yield "the model's own code runs in place of a graph"


def _train(model: nn.Module, binarized: nn.Module, case: Case, result: Result) -> set[str] | None:
    """One step of both; names of the parameters that get a gradient, None if the original does not train."""
    x = case.inputs(2)
    try:
        expected = _step(model.train(), x)
    except Exception as error:  # noqa: BLE001  (whatever the original does wrong is no fault of ours)
        result.notes.append(f"the original does not train: {_short(error)}")
        return None
    after = torch.random.get_rng_state()
    found = _step(binarized.train(), x)
    if not torch.equal(after, torch.random.get_rng_state()):
        result.problems.append("train: another number of random numbers is drawn")
    if not same(expected, found):
        result.problems.append("train: output differs")
    parameters = dict(binarized.named_parameters())
    for name, parameter in model.named_parameters():
        if not same([parameter.grad], [parameters[name].grad]):
            result.problems.append(f"train: the gradient of {name} differs")
            break
    if not same([*model.buffers()], _buffers(model, binarized)):
        result.problems.append("train: buffers differ")
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    for either in (model, binarized):
        either.zero_grad()
    return trained


def _buffers(model: nn.Module, binarized: nn.Module) -> list[Tensor]:
    """The buffers of `binarized` that `model` has too."""
    buffers = dict(binarized.named_buffers())
    return [buffers[name] for name, _ in model.named_buffers()]


@torch.no_grad()
def _deepcopy(binarized: BinarizedModule, case: Case) -> Iterator[str]:
    x = case.inputs(1)
    copied = copy.deepcopy(binarized)
    if not same(_run(binarized.eval(), x), _run(copied.eval(), x)):
        yield "deepcopy: output differs"
    if {id(p) for p in copied.parameters()} & {id(p) for p in binarized.parameters()}:
        yield "deepcopy: shares parameters"


@torch.no_grad()
def _other_dtype(model: nn.Module, binarized: BinarizedModule, case: Case, result: Result) -> None:
    x = tree_map(_double, case.inputs(1))
    try:
        expected = _run(copy.deepcopy(model).double().eval(), x)
    except Exception as error:  # noqa: BLE001  (as above)
        result.notes.append(f"the original does not run in float64: {_short(error)}")
        return
    try:
        found = _run(copy.deepcopy(binarized).double().eval(), x)
    except FxbinError as error:
        result.problems.append(f"float64: {_short(error)}")
        return
    if not same(expected, found):
        result.problems.append("float64: output differs")


def _double(item: Any) -> Any:
    return item.double() if isinstance(item, Tensor) and item.is_floating_point() else item


def _one_bit(
    model: nn.Module, binarized: BinarizedModule, case: Case, result: Result, trained: set[str] | None
) -> None:
    """One step with everything enabled. `trained` are parameters that get a gradient in the original."""
    binarized.binarization.enable(activations=True, weights=True)
    x = case.inputs(2)
    if trained is None:
        with torch.no_grad():
            output = _run(binarized.eval(), x)
    else:
        output = _step(binarized.train(), x)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors(output)):
        result.problems.append("one bit: the output is not finite")
    if trained is None:
        return
    idle = {name for name, _ in model.named_parameters()} - trained
    without = []
    for name, parameter in binarized.named_parameters():
        owner, _, ours = name.partition(".activation_binarizer")
        # A layer that only runs in eval mode, or whose output goes nowhere, has no gradients anyway.
        wanted = name in trained or (bool(ours) and f"{owner}.weight" not in idle)
        if wanted and parameter.grad is None:
            without.append(name)
    grads = [parameter.grad for parameter in binarized.parameters() if parameter.grad is not None]
    if not all(bool(grad.isfinite().all()) for grad in grads):
        # Untrained, at one bit and normalized over a few pixels, gradients of a deep model grow without end.
        result.notes.append("one bit: gradients overflow")
    if without:
        reached = _reached(binarized, case)
        missing = [name for name in without if name.rpartition(".")[0] in reached or name in trained]
        result.problems += [f"one bit: {name} has no gradient" for name in missing[:1]]
    binarized.zero_grad()


def _reached(binarized: BinarizedModule, case: Case) -> set[str]:
    """The activation binarizers whose call sites take part in the loss in full precision.

    Code may detach what one call of a layer gives, and train the layer by another call of it.
    """
    reached: set[str] = set()

    def watch(name: str, x: Tensor) -> Tensor:
        seen = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        seen.register_hook(lambda _: reached.add(name))
        return seen

    copied = copy.deepcopy(binarized)
    copied.binarization.enable(activations=False, weights=False)
    for name, module in copied.named_modules():
        if isinstance(module, ActivationBinarizer):
            module.register_forward_hook(lambda _, args, x, name=name: watch(name, x))
    _step(copied.train(), case.inputs(2))
    return reached


@torch.no_grad()
def _round_trip(model: nn.Module, binarized: BinarizedModule, case: Case) -> Iterator[str]:
    """Scales, thresholds and what is enabled are in the state_dict, like everything else."""
    x = case.inputs(1)
    fresh = fxbin.transform(model, CONFIG, example_inputs=x)
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    fresh.load_state_dict(binarized.state_dict())
    if fresh.binarization.enabled != binarized.binarization.enabled:
        yield "state_dict: another stage after loading"
    if not same(_run(binarized.eval(), x), _run(fresh.eval(), x)):
        yield "state_dict: output differs after loading"


def _run(model: nn.Module, args: Args) -> Any:
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002  (as models do)
    return model(*copy.deepcopy(args))


def _step(model: nn.Module, args: Args) -> Any:
    output = _run(model, args)
    state = torch.random.get_rng_state()
    losses = [_loss(tensor) for tensor in tensors(output) if tensor.requires_grad]
    torch.stack(losses).sum().backward()
    torch.random.set_rng_state(state)
    return tree_map(lambda item: item.detach() if isinstance(item, Tensor) else item, output)


def _loss(output: Tensor) -> Tensor:
    """Another weight for each number: a plain sum has no gradient behind a normalization."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).reshape(output.shape)
    loss: Tensor = (output.double() * weights).sum() / output.numel() ** 0.5
    return loss


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in what a model returns."""
    yield from (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))


def leaves(value: Any) -> Iterator[Any]:
    """What is in `value`, in containers and dataclasses inside it too."""
    for leaf in tree_flatten(value)[0]:
        if is_dataclass(leaf):
            yield from leaves([getattr(leaf, item.name) for item in fields(leaf)])
        else:
            yield leaf


def same(left: Any, right: Any) -> bool:
    """Whether both hold the same, bit for bit; NaN is the same as NaN."""
    items, others = [*leaves(left)], [*leaves(right)]
    return len(items) == len(others) and all(map(_equal, items, others))


def _equal(left: Any, right: Any) -> bool:
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return type(left) is type(right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(left, right) or (
        torch.equal(left.isnan(), right.isnan()) and torch.equal(left.nan_to_num(), right.nan_to_num())
    )


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
