"""The names that rewrites give to the layers that they add, beside the convolution that each belongs to."""

REWRITES = {
    "shortcut": "shortcuts",
    "rprelu": "rprelu",
    "hardtanh": "hardtanh",
    "input": "norm_before_binarize",
    "stem": "quicknet_stem",
}
"""The key in `compression.rewrites` by the name of the layer, which may end in a number: ``shortcut_1``."""
