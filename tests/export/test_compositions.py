"""Models with composed binarizers, exported: equal outputs, in 1 bit where OpenVINO is right."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.binarizing import binarize
from tests.compositions import COMPOSITIONS

X = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
SIGNS = "OpenVINO computes 0 and s with thresholds >= 0 only"
REASONS = {
    "bireal": f"its activations are -1 or 1: {SIGNS}",
    "reactnet": SIGNS,
    "irnet": SIGNS,
    "adabin": SIGNS,
    "recu": "",
    "plain": "",
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_exported_compositions_compute_the_same(check: Any, name: str) -> None:
    model = binarize(nn.Conv2d(8, 8, 3, padding=1), X, parts=COMPOSITIONS[name])
    report = check(model, X, one_bit=0 if REASONS[name] else 1)
    (site,) = report.sites
    assert site.reason.endswith(REASONS[name])


def test_weights_whose_levels_have_a_center_stay_in_float_in_openvino(check: Any) -> None:
    parts = {"weights": {"levels": "center_distance", "latent": "standardize"}}
    report = check(binarize(nn.Conv2d(8, 8, 3), X, parts=parts), X, one_bit=0)
    assert report.sites[0].reason == "its weights have levels that are not -a and a"


class PaddedLater(nn.Module):
    """Its padding comes after the binarizer, as `F.pad` is not part of the call site."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (1, 1, 1, 1)))
        return y


def test_padding_is_binarized_to_the_low_level_and_stays_where_it_is(check: Any) -> None:
    check(binarize(PaddedLater(), X, parts=COMPOSITIONS["irnet"]), X, one_bit=0)
