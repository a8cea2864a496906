"""What a loop of one's own has recorded: numbers of any kind are taken, all else is an error."""

from typing import Any

import numpy as np
import pytest
import torch

import fxbin
from fxbin.errors import ExportError
from fxbin.report.page.curve_data import charts
from fxbin.report.page.recorded import plain_epochs
from tests.report.pages import transformed

SITE = "Net/NNCFConv2d[conv]/conv2d_0"


def test_numbers_of_tensors_and_numpy_are_points_like_those_of_python() -> None:
    loss = torch.tensor(0.125, requires_grad=True)
    values = [0.5, np.float32(0.25), loss, torch.tensor([1.5]), np.int64(2), np.array([3.0]), None]
    found = plain_epochs([{"stage": "s", "loss": value} for value in values], ())
    assert [epoch["loss"] for epoch in found] == [0.5, 0.25, 0.125, 1.5, 2.0, 3.0, None]
    (chart,) = charts(found)
    assert chart.curves[0].values == (0.5, 0.25, 0.125, 1.5, 2.0, 3.0, None)
    assert chart.curves[0].last == 3.0


def test_what_is_no_curve_may_be_anything() -> None:
    stage = transformed().binarization.stage
    given = {"stage": stage, "epoch": "first", "seconds": None, "stopped_early": True}
    assert plain_epochs((given,), ()) == [given]


def row(**changes: Any) -> dict[str, Any]:
    return {"fired": 0.5, "flipped": None, "sites": [{"name": SITE, "fired": 0.5, **changes}]}


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ({"loss": 1}, "epochs: expected a list with one mapping for each epoch, got dict {'loss': 1}"),
        ("abc", "epochs: expected a list with one mapping for each epoch, got str 'abc'"),
        ([{}, 2], "epochs[1]: expected a mapping such as {'stage': ..., 'loss': ...}, got int 2"),
        ([{1: 2.0}], "epochs[0]: expected names as keys, got 1"),
        ([{"loss": 1}, {"loss": "abc"}], "epochs[1]['loss']: expected a number, or None where there is none"),
        ([{"loss": "1.5"}], "got str '1.5'"),
        ([{"loss": True}], "got bool True"),
        ([{"loss": torch.tensor([1.0, 2.0])}], "got Tensor of shape (2,)"),
        ([{"loss": np.bool_(True)}], "epochs[0]['loss']: expected a number"),
        ([{"loss": 1j}], "got complex 1j"),
        ([{"loss": [0.5]}], "got list [0.5]"),
        ([{"diagnostics": 3}], "epochs[0]['diagnostics']: expected DiagnosticsReport.to_dict(), got int 3"),
        ([{"diagnostics": {"x": 1}}], "got a mapping without its list of call sites, 'sites'"),
        ([{"diagnostics": row(fired="a")}], "epochs[0]['diagnostics']['sites'][0]['fired']: expected Diag"),
        ([{"diagnostics": row(name="Other")}], "['diagnostics']: diagnostics of another model: 'Other' is"),
    ],
)
def test_anything_else_is_an_error_that_names_key_epoch_and_type(epochs: Any, said: str) -> None:
    with pytest.raises(ExportError) as raised:
        plain_epochs(epochs, {SITE})
    assert said in str(raised.value)


def test_diagnostics_of_the_model_are_taken() -> None:
    model = transformed().train()
    with fxbin.Diagnostics(model) as diagnostics:
        model.binarization.enable()
        model(torch.randn(2, 3, 8, 8))
        report = diagnostics.report().to_dict()
    (found,) = plain_epochs([{"diagnostics": report}], model.binarization.sites)
    assert found["diagnostics"] is report
