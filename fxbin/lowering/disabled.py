"""Tells which call sites are not in 1 bit at the current training stage."""

from fxbin.graph.call_site import CallSite


def why_disabled(site: CallSite) -> str | None:
    """Why this call site is not in 1 bit at this stage; None if none of its binarizers is disabled."""
    off = [
        kind
        for kind, binarizer in (("activations", site.activation), ("weights", site.weight))
        if binarizer is not None and not binarizer.is_enabled
    ]
    return f"its {' and '.join(off)} are not binarized at this stage" if off else None
