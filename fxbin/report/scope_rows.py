"""The rows that `fxbin scopes` lists: one for each named operator of a model."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from fxbin.binarized.module import BinarizedModule
from fxbin.config.pattern import matches, why_invalid
from fxbin.errors import ScopeError
from fxbin.graph.node_info import NodeInfo, node_info
from fxbin.graph.tensor_spec import tensor_spec
from fxbin.scopes.hints import hints
from fxbin.scopes.quoting import for_shell


@dataclass(frozen=True)
class ScopeRow:
    """One named operator, as `ignored_scopes` and `target_scopes` refer to it."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    op: str
    """The operator: ``"conv2d"``."""

    shape: tuple[int, ...] | None
    """Shape of its output for the example inputs; None if that is not a tensor or unknown."""

    status: str
    """For a conv2d, ``"binarized"`` or ``"full precision: "`` with the reason; empty for other operators."""

    def __str__(self) -> str:
        return "    ".join(self._parts)

    def text(self, width: int | None) -> str:
        """The row in one line; where `width` is too narrow for that, the name, and the rest below it."""
        if width is None or len(str(self)) <= width:
            return str(self)
        name, *rest = self._parts
        below = textwrap.wrap(
            "  ".join(rest),
            width,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join([name, *below])

    @property
    def _parts(self) -> list[str]:
        shape = "x".join(map(str, self.shape)) if self.shape else "-"
        return [part for part in (self.name, self.op, shape, self.status) if part]


def list_scopes(model: BinarizedModule) -> list[ScopeRow]:
    """All named operators of eval mode, in execution order, without duplicates."""
    nodes = (node for graph in model.eval_graphs for node in graph.nodes)
    rows = [row for node in nodes if (info := node_info(node)) for row in _rows(model, node, info)]
    return [*dict.fromkeys(rows)]


def matching(model: BinarizedModule, rows: list[ScopeRow], pattern: str) -> list[ScopeRow]:
    """The `rows`, all those of `model`, that `pattern` selects.

    Raises:
        ScopeError: `pattern` is no regular expression, or matches none of them; with similar names.
    """
    if problem := why_invalid(pattern):
        raise ScopeError(f"--match: {for_shell(pattern)} {problem}")
    found = [row for row in rows if matches(row.name, pattern)]
    if not found:
        modules = dict(model.named_modules(remove_duplicate=False))
        near = hints(pattern, [row.name for row in rows], modules, for_shell)
        said = f"--match: {for_shell(pattern)} matches no node of the model."
        raise ScopeError(" ".join([said, *near]))
    return found


def _rows(model: BinarizedModule, node: object, info: NodeInfo) -> Iterator[ScopeRow]:
    for name in info.names:
        op = name.rpartition("/")[2].rpartition("_")[0]
        is_main = name == info.name
        spec = tensor_spec(model, node) if is_main else None
        status = ""
        if is_main and info.decision is not None:
            status = "binarized" if info.decision.binarized else f"full precision: {info.decision.reason}"
        yield ScopeRow(name, op, spec.shape if spec else None, status)
