"""Which call sites the training stage keeps out of 1 bit."""

from fxbin.graph.call_site import CallSite


def why_disabled(site: CallSite) -> str | None:
    """Why the training stage keeps this call site out of 1 bit; None if both binarizers are enabled."""
    off = [
        kind
        for kind, binarizer in (("activations", site.activation), ("weights", site.weight))
        if binarizer is not None and not binarizer.is_enabled
    ]
    return f"its {' and '.join(off)} are not binarized at this stage" if off else None
