"""`submodule_at` finds what `get_submodule` finds, and None where that raises."""

import pytest
from torch import nn

from fxbin.graph.attribute import attribute, submodule_at


class Holder(nn.Module):
    """A module, one under another name, a place for one, and one that is not registered."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential())
        self.again = self.block
        self.missing: nn.Module | None
        self.register_module("missing", None)
        vars(self)["hidden"] = nn.Sequential(nn.ReLU())
        self.number = 3


@pytest.mark.parametrize("path", ["", "block", "block.0", "block.1", "again.0", "hidden", "hidden.0"])
def test_same_as_get_submodule(path: str) -> None:
    holder = Holder()
    assert submodule_at(holder, path) is holder.get_submodule(path)


@pytest.mark.parametrize("path", ["none", "missing", "missing.0", "number", "block.5", "block.0.weight"])
def test_none_where_there_is_no_module(path: str) -> None:
    holder = Holder()
    assert submodule_at(holder, path) is None
    with pytest.raises(AttributeError):
        holder.get_submodule(path)


def test_attribute_of_a_module_without_modules() -> None:
    holder = Holder()
    vars(holder.block[1])["scale"] = 2
    assert attribute(holder, "block.1.scale") == 2  # an empty Sequential is false
    assert attribute(holder, "number") == 3
    with pytest.raises(AttributeError):
        attribute(holder, "none.weight")
