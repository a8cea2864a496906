"""How tests look at what a pass does: our own one-line-a-node form, before and after."""

import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.capture import capture
from fxbin.compiler.selection import BinarizerNames
from fxbin.config import Params
from fxbin.graph.call_site import call_sites
from fxbin.graph.node_info import Decision
from fxbin.passes import (
    InlineConv2d,
    InsertActivationBinarizers,
    InsertWeightBinarizers,
    MarkCallSites,
    Pass,
    Rewrite,
)


def listing(module: fx.GraphModule, note: Callable[[fx.Node], str] | None = None) -> str:
    """``name = op target(arguments)`` for each node, and ``# note`` where there is something to note."""
    lines = []
    for node in module.graph.nodes:
        target = node.target if isinstance(node.target, str) else node.target.__name__
        args = [_spelled(arg) for arg in node.args]
        args += [f"{key}={_spelled(value)}" for key, value in node.kwargs.items()]
        text = note(node) if note else ""
        lines.append(f"{node.name} = {node.op} {target}({', '.join(args)})" + (f"  # {text}" if text else ""))
    return "\n".join(lines)


def _spelled(argument: Any) -> str:
    return str(argument) if isinstance(argument, fx.Node) else repr(argument)


def assert_rewrites(
    pass_: Pass,
    module: fx.GraphModule,
    before: str,
    after: str,
    note: Callable[[fx.Node], str] | None = None,
) -> None:
    """Check what `pass_` makes of `module`, that it reports the change, and that it is idempotent."""
    assert listing(module, note) == textwrap.dedent(before).strip()
    assert pass_.apply(module.graph, module), f"{pass_.name} changed something and did not report it"
    assert listing(module, note) == textwrap.dedent(after).strip()
    module.graph.lint()
    assert_leaves_alone(pass_, module, note)


def assert_leaves_alone(
    pass_: Pass, module: fx.GraphModule, note: Callable[[fx.Node], str] | None = None
) -> None:
    """Check that `pass_` changes nothing and says so."""
    before, state = listing(module, note), list(module.state_dict())
    assert not pass_.apply(module.graph, module), f"{pass_.name} reported a change"
    assert (listing(module, note), list(module.state_dict())) == (before, state)


def assert_rewrites_network(pass_: Rewrite[Any], module: fx.GraphModule, before: str, after: str) -> None:
    """`assert_rewrites` for a rewrite of the network, which decides first what it does."""
    pass_.decide([module.graph], module)
    assert_rewrites(pass_, module, before, after)


def reasons(pass_: Rewrite[Any], module: fx.GraphModule) -> dict[str, str]:
    """Why `pass_` leaves each call site alone, by the name of its node; empty where it changes something."""
    before = listing(module)
    found = pass_.find(module.graph, module)
    assert listing(module) == before
    names = {site.name: site.node.name for site in call_sites(module, module.graph)}
    return {names[name]: each if isinstance(each, str) else "" for name, each in found.items()}


def captured(model: nn.Module, *shape: int) -> BinarizedModule:
    """The graph of `model` in eval mode, named, for an input of `shape`."""
    module = capture(model.eval(), (torch.rand(shape),), {})
    module.recompile()
    return module


def marked(model: nn.Module, *shape: int, keep: str = "") -> BinarizedModule:
    """`captured`, with each conv2d chosen but those with `keep` in their name."""
    module = captured(model, *shape)
    names = BinarizerNames(module)
    decisions = {
        site.info.name: Decision(binarized=False, reason="kept")
        if keep and keep in site.info.name
        else Decision(True, "", names.activation(site), names.weight(site))
        for site in call_sites(module, module.graph)
    }
    MarkCallSites(decisions).apply(module.graph, module)
    return module


def inlined(model: nn.Module, *shape: int, keep: str = "") -> BinarizedModule:
    """`marked`, with chosen modules replaced by the function they call."""
    module = marked(model, *shape, keep=keep)
    InlineConv2d().apply(module.graph, module)
    return module


def insert_weights() -> Pass:
    """The pass with default parameters."""
    return InsertWeightBinarizers("xnor", Params())


def insert_activations() -> Pass:
    """The pass with default parameters."""
    return InsertActivationBinarizers("xnor", Params())
