"""Classes that a model registered with NNCF: `registered_modules` in a config.

The names are those that NNCF 2.9.0 gave on torch 2.2.2, with ``@nncf.torch.register_module()`` above
`MyConv`, `Functional`, `Block` and `RootBlock`.
"""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.errors import ScopeError
from fxbin.nncf.keys import entries


class MyConv(nn.Conv2d):
    pass


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x * 1, self.weight, padding=1) * self.weight.sum()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1, 1))
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.my = MyConv(4, 4, 1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.my(self.bn(self.conv(x))) * self.weight
        return y


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Block()

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1)
        self.my = MyConv(4, 4, 3, padding=1)
        self.fn = Functional()
        self.block = Block()
        self.plain = Plain()
        self.unused = MyConv(4, 4, 1)
        self.seq = nn.Sequential(Block(), nn.Sequential(MyConv(4, 4, 1)))
        self.hidden = [MyConv(4, 4, 1)]

    def forward(self, x: Tensor) -> Any:
        x = self.plain(self.block(self.fn(self.my(self.stem(x)))))
        return self.hidden[0](self.seq(x))


class Sub(Block):
    """A subclass is not registered."""


class RootBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.sub = Sub()

    def forward(self, x: Tensor) -> Any:
        return self.sub(self.conv(x))


class CallsForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sub = Sub()
        self.my = MyConv(4, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.sub(self.my.forward(x))


NAMES = {
    Net: """
        Net/NNCFConv2d[stem]/conv2d_0
        Net/NNCFUserMyConv[my]/conv2d_0
        Net/NNCFUserFunctional[fn]/__mul___0
        Net/NNCFUserFunctional[fn]/conv2d_0
        Net/NNCFUserFunctional[fn]/__mul___1
        Net/NNCFUserBlock[block]/Conv2d[conv]/conv2d_0
        Net/NNCFUserBlock[block]/BatchNorm2d[bn]/batch_norm_0
        Net/NNCFUserBlock[block]/MyConv[my]/conv2d_0
        Net/NNCFUserBlock[block]/__mul___0
        Net/Plain[plain]/NNCFUserBlock[inner]/Conv2d[conv]/conv2d_0
        Net/Plain[plain]/NNCFUserBlock[inner]/BatchNorm2d[bn]/batch_norm_0
        Net/Plain[plain]/NNCFUserBlock[inner]/MyConv[my]/conv2d_0
        Net/Plain[plain]/NNCFUserBlock[inner]/__mul___0
        Net/Sequential[seq]/NNCFUserBlock[0]/Conv2d[conv]/conv2d_0
        Net/Sequential[seq]/NNCFUserBlock[0]/BatchNorm2d[bn]/batch_norm_0
        Net/Sequential[seq]/NNCFUserBlock[0]/MyConv[my]/conv2d_0
        Net/Sequential[seq]/NNCFUserBlock[0]/__mul___0
        Net/Sequential[seq]/Sequential[1]/NNCFUserMyConv[0]/conv2d_0
        Net/MyConv/conv2d_0
    """,
    RootBlock: """
        RootBlock/Conv2d[conv]/conv2d_0
        RootBlock/Sub[sub]/Conv2d[conv]/conv2d_0
        RootBlock/Sub[sub]/BatchNorm2d[bn]/batch_norm_0
        RootBlock/Sub[sub]/MyConv[my]/conv2d_0
        RootBlock/Sub[sub]/__mul___0
    """,
    CallsForward: """
        CallsForward/conv2d_0
        CallsForward/Sub[sub]/NNCFConv2d[conv]/conv2d_0
        CallsForward/Sub[sub]/NNCFBatchNorm2d[bn]/batch_norm_0
        CallsForward/Sub[sub]/NNCFUserMyConv[my]/conv2d_0
        CallsForward/Sub[sub]/__mul___0
    """,
}
REGISTERED = {
    Net: ["MyConv", "Functional", "Block"],
    RootBlock: ["MyConv", "RootBlock"],
    CallsForward: ["MyConv"],
}
TARGETS = {Net: ["stem"], RootBlock: [], CallsForward: ["sub.conv"]}
"""What NNCF binarized."""


def config(registered: list[str] | str, **section: Any) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": [1, 4, 8, 8]},
        "registered_modules": registered,
        "compression": {"algorithm": "binarization", **section},
    }


@pytest.mark.parametrize("model", NAMES)
def test_names_are_those_of_nncf(model: type[nn.Module]) -> None:
    found = fxbin.node_names(model(), config(REGISTERED[model]))
    assert [name for name, _ in found[1:-1]] == NAMES[model].split()


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.filterwarnings("ignore:no conv2d is binarized")
def test_what_nncf_binarized_is_binarized_and_stored_as_there(model: type[nn.Module]) -> None:
    binarized = fxbin.transform(model(), config(REGISTERED[model], call_sites="modules"))
    activations = [site.activation for site in binarized.binarization.sites.values()]
    paths = [path for path, module in binarized.named_modules() if module in activations]
    assert paths == [f"{target}.activation_binarizer" for target in TARGETS[model]]
    stored = [entry.nncf for entry in entries(binarized) if entry.nncf.endswith("padding_value")]
    assert stored == [f"{target}.nncf_padding_value" for target in TARGETS[model]]


def test_scopes_written_for_such_a_model_match() -> None:
    exact = "Net/NNCFUserMyConv[my]/conv2d_0"
    ignored = [exact, r"{re}NNCFUserBlock\[block\]"]
    sites = fxbin.transform(Net(), config(REGISTERED[Net], ignored_scopes=ignored)).binarization.sites
    names = [name for name in NAMES[Net].split() if "conv2d" in name and name != exact]
    assert [*sites] == [name for name in names if "[block]" not in name and name != "Net/MyConv/conv2d_0"]


@pytest.mark.parametrize("pattern", ["Net/NNCFUserMyConv[my]/conv2d_0", r"{re}NNCFUserMyConv\[my\]"])
def test_without_the_key_the_error_says_which_one(pattern: str) -> None:
    with pytest.raises(ScopeError, match=r'add "registered_modules": \["MyConv"\] at the top level'):
        fxbin.transform(Net(), config([], ignored_scopes=[pattern]))


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("Net/MyConv[my]/conv2d_0", r'Did you mean "Net/NNCFUserMyConv\[my\]/conv2d_0"\?'),
        (r"{re}Net/MyConv\[my\]", r"Net/\(NNCFUser\)\?MyConv.* matches 1 node\."),
    ],
)
def test_name_without_the_prefix_of_a_registered_class_is_a_near_miss(pattern: str, hint: str) -> None:
    hint += " Classes in registered_modules are preceded by NNCFUser."
    with pytest.raises(ScopeError, match=hint):
        fxbin.transform(Net(), config("MyConv", ignored_scopes=[pattern]))


def test_class_that_the_model_does_not_run_is_an_error() -> None:
    message = (
        "registered_modules: no node of the model is in a module of class 'MyConvs'. Did you mean 'MyConv'"
    )
    with pytest.raises(ScopeError, match=re.escape(message)):
        fxbin.transform(Net(), config("MyConvs"))
    with pytest.warns(UserWarning, match=re.escape(message)):
        fxbin.transform(Net(), config("MyConvs", validate_scopes=False))


def test_top_level_pattern_keeps_a_registered_module_as_it_is() -> None:
    top = {**config(REGISTERED[Net]), "ignored_scopes": [r"{re}MyConv\[my\]"]}
    names = [name for name, _ in fxbin.node_names(Net(), top)]
    assert "Net/MyConv[my]/conv2d_0" in names
    assert "Net/MyConv[my]/conv2d_0" not in fxbin.transform(Net(), top).binarization.sites
