import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer
from fxbin.binarizers.activation_levels import ZeroScale
from fxbin.binarizers.scale_init import ScaleInit, mse_scale, quantile_scale
from tests.zoo import DATA

FUNCTIONS: dict[str, Any] = torch.load(DATA / "functions.pt", weights_only=True)
RULES = pytest.mark.parametrize("rule", ["quantile", "mse"])


def initialized(x: Tensor, rule: ScaleInit = "quantile") -> ActivationBinarizer:
    binarizer = ActivationBinarizer(x.shape[1], ZeroScale(rule))
    binarizer.name = "Net/Conv2d[conv]/conv2d_0"
    binarizer.enable()
    binarizer(x)
    return binarizer


@pytest.mark.parametrize("case", FUNCTIONS["scale_init"], ids=lambda case: case["case"])
def test_quantile_rule_is_that_of_nncf(case: dict[str, Any]) -> None:
    if not math.isfinite(case["scale_param"]):
        with pytest.warns(UserWarning, match="starts at 1"):
            assert initialized(case["x"]).scale.item() == 0
        return
    scale = initialized(case["x"]).scale.detach()
    assert_close(scale, case["scale_param"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (500, 1), (1500, 2), (2500, 2), (3500, 4)])
def test_quantile_count_rounds_half_to_even(n: int, count: int) -> None:
    values = torch.randperm(n).float()
    assert quantile_scale(values).item() == n - count


def test_mse_rule_finds_the_best_two_level_scale() -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).relu()
    grid = torch.linspace(0.05, 4, 400)
    errors = torch.stack([(values - s * (values > s / 2)).square().mean() for s in grid])
    s = mse_scale(values)
    assert (values - s * (values > s / 2)).square().mean() <= errors.min() + 1e-6


def test_mse_rule_is_twenty_rounds_from_the_mean_of_the_positive_values() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(1)).exp() - 0.5
    s = values[values > 0].mean()
    for _ in range(20):
        s = values[values > s / 2].mean()
    assert mse_scale(values).item() == pytest.approx(s.item(), rel=1e-6)


@RULES
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_useless_statistics_start_at_one_with_a_warning_that_names_the_site(
    rule: ScaleInit, value: float
) -> None:
    with pytest.warns(UserWarning, match=r"Net/Conv2d\[conv\]/conv2d_0: .* starts at 1") as caught:
        binarizer = initialized(torch.full((2, 3, 4, 4), value), rule)
    assert len(caught) == 1
    assert binarizer.scale.item() == 0
    assert binarizer.is_scale_initialized
    assert binarizer(torch.ones(2, 3, 4, 4)).eq(1).all()


@RULES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(rule: ScaleInit, dtype: torch.dtype) -> None:
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = initialized(x, rule).scale.item()
    assert initialized(x.to(dtype), rule).scale.item() == pytest.approx(expected, abs=5e-3)


RANK = """
import sys, torch
import torch.distributed.nn.functional  # with a group it would keep it, and its threads, to the end
from torch import distributed
from fxbin.binarizers import ActivationBinarizer, ZeroScale

rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
batch = torch.rand(8, 3, 10, 10, generator=torch.Generator().manual_seed(0))
for rule in ("quantile", "mse"):
    for shares in ([5, 3], [8, 0]):
        binarizer = ActivationBinarizer(3, ZeroScale(rule, "mse"), init_batches=2)
        binarizer.enable()
        for x in (batch, 2 * batch):
            binarizer(x.split(shares)[rank])
        print("found", repr(binarizer.scale.tolist() + binarizer.threshold.flatten().tolist()), flush=True)
distributed.destroy_process_group()
"""


def test_every_rank_starts_from_the_whole_batch_also_where_its_own_is_empty(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    # torch 2.9 prints something of its own.
    lines = [[line for line in output.splitlines() if line.startswith("found ")] for output in outputs]
    assert lines[0] == lines[1]

    batch = torch.rand(8, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    found = iter(json.loads(line.removeprefix("found ")) for line in lines[0])
    rules: tuple[ScaleInit, ScaleInit] = ("quantile", "mse")
    for rule in rules:
        whole = ActivationBinarizer(3, ZeroScale(rule, "mse"), init_batches=2)
        whole.enable()
        for x in (batch, 2 * batch):
            whole(x)
        expected = whole.scale.tolist() + whole.threshold.flatten().tolist()
        for _ in range(2):
            assert next(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)
