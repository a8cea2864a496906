"""Combinations of parts of binarizers, one or more with each part."""

from typing import Any

COMPOSITIONS: dict[str, dict[str, Any]] = {
    "bireal": {
        "activations": {"levels": {"name": "sign", "shift_init": "zero", "learned_scale": False}},
        "weights": {"estimator": "window"},
    },
    "reactnet": {
        "activations": {"levels": "sign", "estimator": "approx_sign"},
        "weights": {"latent": "center"},
    },
    "irnet": {
        "activations": {"levels": "sign", "estimator": "ede"},
        "weights": {"levels": "power_of_two", "estimator": "ede", "latent": "standardize"},
    },
    "adabin": {
        "activations": {"levels": "free", "estimator": "swish_sign"},
        "weights": {"levels": "center_distance", "estimator": "ede", "latent": "standardize"},
    },
    "recu": {
        "activations": {"levels": "zero_scale", "estimator": "reste"},
        "weights": {"levels": "learned", "estimator": "clipped", "latent": "clamp_quantiles"},
    },
    "plain": {"weights": {"levels": "one"}},
}
"""Sections `activations` and `weights` of a config, by name."""
