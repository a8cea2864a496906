"""Replaces binarized convolutions by fxbin's own operators."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fxbin.deployment.deployed_module import DeployedSite
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.deployment.pipeline import pack
from fxbin.export.binary_conv2d import binary_conv2d
from fxbin.export.report import NOT_USED, ExportMode, SiteExport
from fxbin.graph.attribute import submodule_at
from fxbin.graph.call_site import CallSite, binarized_call_sites
from fxbin.graph.node_info import node_info, set_node_info
from fxbin.lowering.disabled import why_disabled
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.use import Use

VECTORS = ("thresholds", "x_levels", "weight_bits", "w_levels", "bias")
"""Buffers of a `PackedConv2d` that every operator takes."""


def lower_to_engine(module: fx.GraphModule, inputs: BoundInputs) -> tuple[SiteExport, ...]:
    """Replace what the engine can compute in `module`, in place; return what was done with each call site.

        before:  x -> activation binarizer -> conv2d <- weight binarizer <- w, then BatchNorm, sum, activation
        after:   x -> binary_conv2d

    The passes are those of `fxbin.deploy` up to the fusion of sums and activations. A call site on which
    nothing depends is left out of the file.
    """
    with torch.no_grad():
        use = Use(module.graph)
        found = {site.name: _before(site, use) for site in binarized_call_sites(module, module.graph)}
        sites = pack(module, inputs)
        _call_operators(module)
    module.recompile()
    return tuple(_exported(site, *found[site.name]) for site in sites)


def _before(site: CallSite, use: Use) -> tuple[bool, bool, bool]:
    """Return whether a call site is used, whether it has an enabled binarizer, and whether all are."""
    binarizers = [each for each in (site.activation, site.weight) if each is not None]
    return use.includes(site.node), any(each.is_enabled for each in binarizers), why_disabled(site) is None


def _exported(site: DeployedSite, used: bool, any_enabled: bool, all_enabled: bool) -> SiteExport:
    if not used:
        return SiteExport(site.name, ExportMode.LEFT_OUT, enabled=all_enabled, reason=NOT_USED)
    mode = ExportMode.FLOAT if any_enabled else ExportMode.FULL_PRECISION
    return SiteExport(
        site.name, ExportMode.ONE_BIT if site.place else mode, enabled=all_enabled, reason=site.reason
    )


def _call_operators(module: fx.GraphModule) -> None:
    """Replace packed convolutions by operators."""
    writer = _Writer(module)
    for node in list(module.graph.find_nodes(op="call_module")):
        packed = submodule_at(module, str(node.target))
        if isinstance(packed, PackedConv2d):
            writer.replace(node, packed)


class _Writer:
    """Replaces packed convolutions, in execution order.

    The operators take ``(n, h, w, c)``, so nothing is transposed where one reads the output of another.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module, self.graph = module, module.graph
        self.pixels: dict[fx.Node, fx.Node] = {}
        """The node of a value in ``(n, h, w, c)``, by its node in ``(n, c, h, w)``."""
        self.bits: dict[tuple[torch.Size, bytes], str] = {}
        """Path of the module with the bits of a weight, which are stored once, even if used twice."""

    def replace(self, node: fx.Node, packed: PackedConv2d) -> None:
        """Replace `node`, which calls `packed`, by an operator."""
        place = str(node.target)
        if packed.bias is None:
            packed.bias = torch.zeros_like(packed.w_levels[0])
        x, residual = (*node.args, None)[:2]
        assert isinstance(x, fx.Node)
        with self.graph.inserting_before(node):
            taken, added = self._pixels(node, x), None
            if isinstance(residual, fx.Node):
                added = self._pixels(node, residual)
            is_float32 = packed.thresholds.dtype == torch.float32
            if not is_float32:
                taken = self._compared(node, taken, packed)
            y = self._call(
                node,
                binary_conv2d,
                (taken, self._vectors(packed, place), added, self._slope(packed, place)),
                _options(packed),
            )
            result = self._call(node, as_input, (y, x))
        if is_float32:
            self.pixels[result] = y
        node.replace_all_uses_with(result)
        self.graph.erase_node(node)

    def _pixels(self, origin: fx.Node, x: fx.Node) -> fx.Node:
        if x not in self.pixels:
            self.pixels[x] = self._call(origin, as_pixels, (x,))
        return self.pixels[x]

    def _compared(self, origin: fx.Node, pixels: fx.Node, packed: PackedConv2d) -> fx.Node:
        """Compare before the operator, which compares only in float32; return which inputs fire."""
        packed.register_buffer("bounds", packed.thresholds)
        packed.thresholds = torch.full_like(packed.thresholds, 0.5, dtype=torch.float32)
        bounds = self.graph.get_attr(f"{origin.target}.bounds")
        return self._call(origin, fires, (pixels, bounds))

    def _vectors(self, packed: PackedConv2d, place: str) -> list[fx.Node]:
        bits = packed.weight_bits
        owner = self.bits.setdefault((bits.shape, bits.cpu().numpy().tobytes()), place)
        places = {name: owner if name == "weight_bits" else place for name in VECTORS}
        return [self.graph.get_attr(f"{where}.{name}") for name, where in places.items()]

    def _slope(self, packed: PackedConv2d, place: str) -> fx.Node | None:
        return None if packed.slope is None else self.graph.get_attr(f"{place}.slope")

    def _call(
        self,
        origin: fx.Node,
        function: Callable[..., Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> fx.Node:
        """Insert a call with the hierarchical name of `origin`."""
        node = self.graph.call_function(function, args, kwargs)
        info = node_info(origin)
        if info is not None:
            set_node_info(node, info)
        return node


def as_pixels(x: Tensor) -> Tensor:
    """Return a batch, or one image without a batch axis, as ``(n, h, w, c)``."""
    return (x.unsqueeze(0) if x.dim() == 3 else x).permute(0, 2, 3, 1)


def fires(x: Tensor, bounds: Tensor) -> Tensor:
    """Return 1 where the input ``(n, h, w, c)`` is above the threshold of its channel, else 0."""
    return (x > bounds).float()


def as_input(y: Tensor, x: Tensor) -> Tensor:
    """Return the pixels `y` with the dtype and the axes of the input `x`."""
    found = y.permute(0, 3, 1, 2).to(x.dtype)
    return found.squeeze(0) if x.dim() == 3 else found


def _options(packed: PackedConv2d) -> dict[str, Any]:
    return {
        "kernel_size": packed.kernel_size,
        "stride": packed.stride,
        "padding": packed.padding,
        "dilation": packed.dilation,
        "groups": packed.groups,
        "activation": packed.activation,
    }
