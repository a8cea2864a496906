"""Islands and the modules that they call exchange values through attributes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from tests.transform_check import CONFIG, Case, check


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 1)


class Deciding(nn.Module):
    """Looks at content, and so runs as it is."""

    def forward(self, x: Tensor) -> Any:
        return self.body(x) if x.sum() > -1e9 else x

    def body(self, x: Tensor) -> Any:
        raise NotImplementedError


class Leaves(nn.Module):
    """Leaves a tensor in an attribute."""

    def __init__(self, *, only_trains: bool = False) -> None:
        super().__init__()
        self.conv, self.only_trains = conv(), only_trains
        self.aux: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.training or not self.only_trains:
            self.aux = y.detach().square().mean()
        return y


class ReadsWhatIsLeft(Deciding):
    def __init__(self, *, only_trains: bool = False) -> None:
        super().__init__()
        self.leaves = Leaves(only_trains=only_trains)

    def body(self, x: Tensor) -> Any:
        y = self.leaves(x)
        return y * self.leaves.aux if self.training or not self.leaves.only_trains else y


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = conv(), 1.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * self.scale


class Sets(Deciding):
    """Sets numbers of what it calls, and sets them back if it `resets`."""

    def __init__(self, *, resets: bool) -> None:
        super().__init__()
        self.conv, self.scaled, self.resets = nn.Conv2d(3, 3, 3), Scaled(), resets

    def body(self, x: Tensor) -> Any:
        self.conv.padding = (x.shape[0] % 2, 1)
        self.scaled.scale = 1.0 + x.shape[0]
        y = self.scaled(self.conv(x))
        if self.resets:
            self.conv.padding, self.scaled.scale = (0, 0), 1.0
        return y


class Appends(nn.Module):
    def __init__(self, found: list[Tensor]) -> None:
        super().__init__()
        self.conv, self.found = conv(), found

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        self.found.append(y.mean())
        return y


class Collects(nn.Module):
    """Has a list that all layers know; a graph, where nothing looks at content."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self.layers = nn.Sequential(Appends(self.found), Appends(self.found))

    def forward(self, x: Tensor) -> Any:
        self.found.clear()
        return self.layers(x), torch.stack(self.found)


class CollectsAndDecides(Collects):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) if x.sum() > -1e9 else x


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.state = self.conv(x) if self.state is None else torch.tanh(self.conv(x + self.state))
        return self.state


class Recurrent(Deciding):
    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()

    def body(self, x: Tensor) -> Any:
        self.cell.state = None
        for _ in range(3):
            y = self.cell(x)
        self.cell.state = None
        return y


class AroundDeciding(nn.Module):
    """A graph but for what it calls, which leaves a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deciding = conv(), LeavesAndDecides()

    def forward(self, x: Tensor) -> Any:
        y = self.deciding(self.stem(x))
        return y * self.deciding.aux


class LeavesAndDecides(Leaves):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > -1e9 else x


@pytest.mark.parametrize(
    "make",
    [
        ReadsWhatIsLeft,
        lambda: ReadsWhatIsLeft(only_trains=True),
        lambda: Sets(resets=False),
        lambda: Sets(resets=True),
        Collects,
        CollectsAndDecides,
        Recurrent,
        AroundDeciding,
    ],
)
def test_what_is_passed_by_attributes_arrives(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    found = check(Case(make(), lambda batch: (torch.linspace(0, 1, batch * 108).reshape(batch, 3, 6, 6),)))
    assert found.problems == []


def test_report_names_the_attribute() -> None:
    x = torch.rand(1, 3, 6, 6)
    reasons = {
        island.scope.replace("NNCF", ""): island.reason
        for model in (ReadsWhatIsLeft(), Sets(resets=True))
        for island in fxbin.transform(model, CONFIG, (x,)).islands
    }
    for scope, name in (
        ("ReadsWhatIsLeft/Leaves[leaves]", "leaves.aux"),
        ("Sets/Conv2d[conv]", "conv.padding"),
    ):
        assert reasons[scope] == f"it may look at the attribute {name}, which is assigned in a run"


class Normed(Deciding):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(torch.nn.utils.weight_norm(conv()), nn.ReLU())

    def body(self, x: Tensor) -> Any:
        return self.inner(x)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_that_is_computed_anew_in_each_call_is_binarized() -> None:
    binarized = fxbin.transform(Normed(), CONFIG, (torch.rand(1, 3, 6, 6),))
    assert [*binarized.binarization.sites] == ["Normed/Sequential[inner]/NNCFConv2d[0]/conv2d_0"]
    found = check(Case(Normed(), lambda batch: (torch.rand(batch, 3, 6, 6),)))
    assert (found.problems, found.sites) == ([], 1)
