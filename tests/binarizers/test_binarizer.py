import copy

import pytest
import torch
from torch import nn

from fxbin.binarizers import ActivationBinarizer, Binarizer, XNORWeightBinarizer

BOTH = pytest.mark.parametrize("make", [lambda: ActivationBinarizer(3), XNORWeightBinarizer])


@BOTH
def test_disabled_binarizer_returns_its_input_object(make: type[Binarizer]) -> None:
    x = torch.randn(2, 3, 4, 4)
    binarizer = make()
    assert not binarizer.is_enabled
    assert binarizer(x) is x
    binarizer.enable()
    assert binarizer(x) is not x
    binarizer.disable()
    assert binarizer(x) is x


@BOTH
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_loading_a_state_dict_sets_the_python_flags(
    make: type[Binarizer], assign: bool, strict: bool
) -> None:
    source = nn.ModuleDict({"b": make()})
    source["b"].enable()  # type: ignore[operator]
    if isinstance(source["b"], ActivationBinarizer):
        source["b"](torch.rand(2, 3, 4, 4))
    target = nn.ModuleDict({"b": make()})
    target.load_state_dict(source.state_dict(), strict=strict, assign=assign)
    binarizer = target["b"]
    assert isinstance(binarizer, Binarizer)
    assert binarizer.is_enabled
    if isinstance(binarizer, ActivationBinarizer):
        assert binarizer.is_scale_initialized

    target.load_state_dict(nn.ModuleDict({"b": make()}).state_dict(), strict=strict, assign=assign)
    assert not binarizer.is_enabled


def test_state_dict_without_the_flag_leaves_it() -> None:
    binarizer = XNORWeightBinarizer()
    binarizer.enable()
    binarizer.load_state_dict({}, strict=False)
    assert binarizer.is_enabled
    assert binarizer.enabled.item() == 1


def test_state_dict_has_the_names_and_shapes_of_nncf_checkpoints() -> None:
    state = ActivationBinarizer(3).state_dict()
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()} == {
        "scale": (torch.float32, (1,)),
        "threshold": (torch.float32, (1, 3, 1, 1)),
        "enabled": (torch.float32, (1,)),
        "scale_initialized": (torch.float32, (1,)),
    }
    assert list(XNORWeightBinarizer().state_dict()) == ["enabled"]


@BOTH
def test_deepcopy_keeps_state_and_is_independent(make: type[Binarizer]) -> None:
    binarizer = make()
    binarizer.name = "site"
    binarizer.enable()
    clone = copy.deepcopy(binarizer)
    binarizer.disable()
    assert clone.is_enabled
    assert clone.enabled.item() == 1
    assert clone.name == "site"


def test_casts_and_moves_keep_the_flags() -> None:
    binarizer = ActivationBinarizer(3)
    binarizer.enable()
    binarizer.to(torch.bfloat16)
    assert binarizer.enabled.dtype == torch.float32
    x = torch.rand(2, 3, 4, 4, dtype=torch.bfloat16)
    assert binarizer(x).dtype == torch.bfloat16


def test_module_on_the_meta_device_loads_with_assign() -> None:
    source = XNORWeightBinarizer()
    source.enable()
    with torch.device("meta"):
        target = XNORWeightBinarizer()
    target.load_state_dict(source.state_dict(), assign=True)
    assert target.is_enabled
