"""The distance between two networks by where their layers are active: attention maps of features."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_map(features: Tensor) -> Tensor:
    """How active each position is, as a share of all: the squares of all channels, with norm 1.

    Forward:   q / ||q||_2 with q = sum_c features_c ** 2, flattened over the positions
    Shapes:    features ``(n, c, h, w)`` to ``(n, h * w)``; or any other number of axes for positions, from 1.
    Dtype:     16-bit features are squared in float32, as their squares would overflow.
    Limits:    a map of zeros stays zero, with gradient 0.
    Source:    Zagoruyko and Komodakis 2016, arXiv:1612.03928, section 3.1 (sum of squares).
    """
    wide = features if features.dtype == torch.float64 else features.float()
    return F.normalize(wide.square().sum(1).flatten(1), dim=1)


def attention_distance(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Distance between the attention maps of two networks after one layer.

    Forward:   mean over the batch of ||attention_map(features) - attention_map(teacher_features)||_2
    Shapes:    ``(n, c, h, w)`` and ``(n, c', h, w)``, to a scalar; the numbers of channels may differ.
    Limits:    where both maps are equal, the gradient is 0.
    Source:    Martinez et al. 2020 (Real-to-Binary), arXiv:2003.11535, eq. (3), for one layer.
    """
    difference = attention_map(features) - attention_map(teacher_features)
    norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norms.mean()
