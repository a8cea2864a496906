import copy
import gc
import pickle
import re
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim.optimizer import _global_optimizer_post_hooks
from torch.testing import assert_close

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.diagnostics import SiteDiagnostics
from fxbin.errors import TransformError
from tests.transforming import SMALL, Small, config

FIRST, SECOND = "Small/NNCFConv2d[conv1]/conv2d_0", "Small/NNCFConv2d[conv2]/conv2d_0"


def small(*, activations: bool = True, weights: bool = True) -> BinarizedModule:
    torch.manual_seed(0)
    model = fxbin.transform(Small(), SMALL)
    model.binarization.enable(activations=activations, weights=weights)
    return model


def batch(seed: int = 0) -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(batch(seed)), torch.arange(4)).backward()
    optimizer.step()


def by_name(seen: fxbin.Diagnostics) -> dict[str, SiteDiagnostics]:
    return {site.name: site for site in seen.report().sites}


def test_share_that_fires_is_that_of_the_outputs_of_all_training_batches() -> None:
    model = small()
    outputs: list[Tensor] = []
    binarizer = model.get_submodule("conv2.activation_binarizer")
    binarizer.register_forward_hook(lambda _m, _x, y: outputs.append(y.detach()))
    with fxbin.Diagnostics(model) as seen:
        for seed in range(3):
            model(batch(seed))
        expected = torch.cat(outputs) > 0
        model.eval()(torch.zeros(4, 3, 8, 8))
        site = by_name(seen)[SECOND]
    assert site.fired == pytest.approx(expected.float().mean().item())
    assert site.silent_channels == (~expected.any(0).any(-1).any(-1)).sum()
    assert site.channels == 8


def test_each_report_starts_anew() -> None:
    model = small()
    with fxbin.Diagnostics(model) as seen:
        model(batch(0))
        seen.report()
        assert by_name(seen)[FIRST].fired is None
        model(batch(1))
        assert by_name(seen)[FIRST].fired == pytest.approx(
            (model.get_submodule("conv1.activation_binarizer").eval()(batch(1)) > 0).float().mean().item()
        )


def test_signs_that_flipped_are_counted_from_report_to_report() -> None:
    model = small(activations=False, weights=False)
    weight = model.get_parameter("conv2.weight")
    with fxbin.Diagnostics(model) as seen, torch.no_grad():
        weight[:2].neg_()  # of 8 filters
        assert by_name(seen)[SECOND].flipped == pytest.approx(2 / 8)
        assert by_name(seen)[SECOND].flipped == 0
        weight[:1].neg_()
        weight.mul_(3)
        assert by_name(seen)[SECOND].flipped == pytest.approx(1 / 8)


def test_levels_are_in_the_units_of_x() -> None:
    model = small()
    binarizer = model.get_submodule("conv2.activation_binarizer")
    with fxbin.Diagnostics(model) as seen, torch.no_grad():
        binarizer.scale.fill_(0.7)  # type: ignore[operator]
        binarizer.threshold.copy_(torch.arange(8.0).view(1, 8, 1, 1) - 4)  # type: ignore[operator]
        site = by_name(seen)[SECOND]
    s = torch.tensor(0.7).exp()
    bounds = s * (torch.arange(8.0) - 4).sigmoid()
    assert_close([site.scale, site.threshold], [s.item(), bounds.mean().item()])
    assert_close([site.smallest_threshold, site.largest_threshold], [bounds[0].item(), bounds[-1].item()])


@pytest.mark.parametrize("with_closure", [False, True])
def test_gradient_norms_are_means_over_the_steps_of_what_the_optimizer_saw(with_closure: bool) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    names = ["conv2.weight", "conv2.activation_binarizer.scale", "conv2.activation_binarizer.threshold"]
    norms = []
    with fxbin.Diagnostics(model) as seen:
        for seed in range(3):

            def accumulate(seed: int = seed) -> Tensor:
                optimizer.zero_grad()
                for part in range(2):
                    loss = F.cross_entropy(model(batch(10 * seed + part)), torch.arange(4))
                    loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                return loss

            if with_closure:
                optimizer.step(accumulate)
            else:
                accumulate()
                optimizer.step()
            grads = [model.get_parameter(name).grad for name in names]
            norms.append([grad.norm().item() for grad in grads if grad is not None])
        site = by_name(seen)[SECOND]
        assert by_name(seen)[SECOND].weight_gradient is None
    expected = torch.tensor(norms).mean(0)
    found = [site.weight_gradient, site.scale_gradient, site.threshold_gradient]
    assert_close(torch.tensor(found), expected)


def test_what_is_not_binarized_has_no_firing_and_no_gradients_of_its_own() -> None:
    model = small(activations=False)
    with fxbin.Diagnostics(model) as seen:
        step(model, torch.optim.SGD(model.parameters(), lr=0.1))
        site = by_name(seen)[FIRST]
    assert (site.fired, site.silent_channels, site.scale_gradient, site.threshold_gradient) == (None,) * 4
    assert site.weight_gradient is not None
    assert not site.activations_binarized
    assert site.warning is None


class Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std()
        return F.conv2d(x, weight, self.bias, padding=1)


def test_a_weight_that_is_computed_counts_as_the_binarizer_gets_it() -> None:
    model = fxbin.transform(nn.Sequential(Standardized(3, 4, 3)), SMALL)
    weight = model.get_parameter("0.weight")
    with fxbin.Diagnostics(model) as seen:
        step_once = torch.optim.SGD(model.parameters(), lr=0.0)
        model(batch()).sum().backward()
        step_once.step()
        with torch.no_grad():
            weight.add_(10)  # the standardized one stays the same
        (site,) = seen.report().sites
        assert site.flipped < 0.02
        assert weight.grad is not None
        assert site.weight_gradient == pytest.approx(weight.grad.norm().item())
        with torch.no_grad():
            weight.neg_()
        assert seen.report().sites[0].flipped > 0.98


@pytest.mark.parametrize(
    ("bias", "message"), [(-1.0, '0.00% of its activations fire.*"mse"'), (1.0, "100.00% .* a constant")]
)
def test_a_layer_that_fires_never_or_always_gets_a_warning_that_says_what_to_try(
    bias: float, message: str
) -> None:
    model = small()
    model(batch())
    with fxbin.Diagnostics(model) as seen, torch.no_grad():
        model(batch())
        assert seen.report().warnings == ()
        model(torch.full((4, 3, 8, 8), bias))
        report = seen.report()
    (warning,) = [text for text in report.warnings if text.startswith(FIRST)]
    assert re.search(message, warning)
    assert "ignored_scopes" in warning
    assert warning in str(report)
    assert warning in report.to_dict()["warnings"]


def test_it_prints_a_row_for_each_call_site() -> None:
    model = small()
    with fxbin.Diagnostics(model) as seen:
        step(model, torch.optim.SGD(model.parameters(), lr=0.1))
        lines = str(seen.report()).splitlines()
    assert re.findall(r"[a-z0-9]+", lines[0])[:4] == ["conv2d", "fires", "silent", "flipped"]
    assert lines[2].split(" | ")[0].strip("| ") == FIRST
    assert lines[3].split(" | ")[0].strip("| ") == SECOND


def test_numbers_and_gradients_of_the_model_stay_what_they_were() -> None:
    plain, watched = small(), small()
    seen = fxbin.Diagnostics(watched)
    for model in (plain, watched):
        torch.manual_seed(3)
        step(model, torch.optim.Adam(model.parameters()))
    seen.report()
    assert_close(watched.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert list(watched.state_dict()) == list(plain.state_dict())


def test_nothing_stays_behind_when_it_is_closed_or_forgotten() -> None:
    model = small()
    hooks = len(_global_optimizer_post_hooks)
    with fxbin.Diagnostics(model):
        assert len(_global_optimizer_post_hooks) == hooks + 1
    assert len(_global_optimizer_post_hooks) == hooks
    assert all(site.activation.firing is None for site in model.binarization.sites.values())
    seen = fxbin.Diagnostics(model)
    del seen
    gc.collect()
    assert len(_global_optimizer_post_hooks) == hooks


def test_copies_and_pickles_are_not_watched() -> None:
    model = small()
    with fxbin.Diagnostics(model) as seen:
        copied = copy.deepcopy(model)
        copied(batch())
        assert by_name(seen)[FIRST].fired is None
        activation = model.binarization.sites[FIRST].activation
        assert activation.firing is not None
        assert pickle.loads(pickle.dumps(activation)).firing is None
    assert all(site.activation.firing is None for site in copied.binarization.sites.values())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_model_may_be_watched_before_and_after_it_is_compiled() -> None:
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    eager, model = small(), small()
    compiled = cast("nn.Module", torch.compile(model, fullgraph=True, backend=counter))
    compiled(batch(0)).sum().backward()
    eager(batch(0))
    with fxbin.Diagnostics(compiled) as seen, fxbin.Diagnostics(eager) as expected:
        for seed in range(1, 4):
            compiled(batch(seed)).sum().backward()
            eager(batch(seed))
        found, wanted = by_name(seen), by_name(expected)
    assert counter.frame_count == 2
    assert {name: site.fired for name, site in found.items()} == {n: s.fired for n, s in wanted.items()}


def test_only_a_transformed_model_can_be_watched() -> None:
    with pytest.raises(TransformError, match=r"fxbin\.Diagnostics: expected a model that fxbin\.transform"):
        fxbin.Diagnostics(Small())


def test_a_shared_weight_and_a_call_site_that_never_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.refine = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(self.conv(x))
            y: Tensor = x if self.training else self.refine(x)
            return y

    model = fxbin.transform(Twice(), config(2, 3, 8, 8))
    model.binarization.enable(activations=True, weights=True)
    with fxbin.Diagnostics(model) as seen:
        model(batch())
        fired: dict[str, Any] = {name: site.fired for name, site in by_name(seen).items()}
    assert [value is None for value in fired.values()] == [False, False, True]


def test_a_submodule_named_module_is_no_wrapper() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.module(x)
            return y

    model = fxbin.transform(Holder(), SMALL)
    with fxbin.Diagnostics(nn.DataParallel(model)) as seen:
        assert list(by_name(seen)) == ["Holder/NNCFConv2d[module]/conv2d_0"]
