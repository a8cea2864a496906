"""Scope patterns against what NNCF 2.9.0 did with them on the same small ResNet."""

import ast
import json
import re
import shlex
import warnings
from collections.abc import Callable
from typing import Any

import json5
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.config.pattern import matches
from fxbin.errors import ConfigError, ScopeError
from fxbin.scopes.hints import hints
from fxbin.scopes.quoting import Quote, for_config, for_shell
from tests.tiny_resnet import TinyResNet

CONV1 = "TinyResNet/NNCFConv2d[conv1]/conv2d_0"
CONVS = {
    "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2", "layer2.0.conv1",
    "layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv1", "layer2.1.conv2",
}  # fmt: skip
LAYER1 = {conv for conv in CONVS if conv.startswith("layer1")}
FIRST = {conv for conv in CONVS if conv.endswith("conv1")}
LAYER2 = {conv for conv in CONVS if conv.startswith("layer2")}


def config(top: dict[str, Any] | None = None, **section: Any) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": [1, 3, 16, 16]},
        "compression": {"algorithm": "binarization", **section},
        **(top or {}),
    }


def transform(top: dict[str, Any] | None = None, **section: Any) -> Any:
    return fxbin.transform(TinyResNet(), config(top, **section))


def binarized(model: nn.Module) -> set[str]:
    """Qualified names of the convolutions that are binarized."""
    return {
        path.removesuffix(".weight_binarizer")
        for path, _ in model.named_modules()
        if path.endswith(".weight_binarizer")
    }


# PyTorch's names of modules.


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ({"ignored_scopes": ["conv1"]}, CONVS - {"conv1"}),
        ({"ignored_scopes": ["layer1.0.conv1"]}, CONVS - {"layer1.0.conv1"}),
        ({"ignored_scopes": ["layer1.0.conv1/conv2d_0"]}, CONVS - {"layer1.0.conv1"}),
        ({"ignored_scopes": ["layer1"]}, CONVS - LAYER1),
        ({"ignored_scopes": ["layer1.0", CONV1]}, LAYER2 | {"layer1.1.conv1", "layer1.1.conv2"}),
        ({"ignored_scopes": ["layer2.0.downsample"]}, CONVS - {"layer2.0.downsample.0"}),
        ({"target_scopes": ["layer1"], "ignored_scopes": ["layer1.0.conv2"]}, LAYER1 - {"layer1.0.conv2"}),
        ({"top": {"ignored_scopes": ["layer1"]}}, CONVS - LAYER1),
        ({"top": {"target_scopes": ["layer1"]}}, LAYER1),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else sorted(value)),
)
def test_name_of_a_module_selects_what_runs_in_it(scopes: dict[str, Any], expected: set[str]) -> None:
    assert binarized(transform(**scopes)) == expected


@pytest.mark.parametrize(
    "entry", ["0.conv1", "layer1.0.conv", "layer", "layer1.0/conv2d_0", "Conv1", " conv1"]
)
def test_part_of_the_name_of_a_module_selects_nothing(entry: str) -> None:
    with pytest.raises(ScopeError, match="matches no node"):
        transform(ignored_scopes=[entry])


@pytest.mark.parametrize("key", ["ignored_scopes", "target_scopes"])
def test_top_level_name_of_a_module_leaves_the_names_of_nodes(key: str) -> None:
    top = {key: ["layer1"]}
    assert fxbin.node_names(TinyResNet(), config(top)) == fxbin.node_names(TinyResNet(), config())


def test_name_of_a_module_with_an_operator_selects_one_of_its_calls() -> None:
    both: Any = fxbin.transform(HeldTwice(), config(ignored_scopes=["left.0"]))
    assert list(both.binarization.sites) == ["HeldTwice/Sequential[right]/NNCFConv2d[0]/conv2d_0"]
    second: Any = fxbin.transform(Twice(), config(ignored_scopes=["conv/conv2d_1"]))
    assert list(second.binarization.sites) == ["Twice/NNCFConv2d[conv]/conv2d_0"]


# The rows of the experiments with NNCF that ended well, unless a trap made them nonsense.
@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ({}, CONVS),
        ({"ignored_scopes": [CONV1]}, CONVS - {"conv1"}),
        ({"ignored_scopes": CONV1}, CONVS - {"conv1"}),
        ({"ignored_scopes": ["{re}layer1"]}, CONVS - LAYER1),
        ({"ignored_scopes": [r"{re}TinyResNet/NNCFConv2d\[conv1\]"]}, CONVS - {"conv1"}),
        ({"ignored_scopes": ["{re}.*ReLU.*"]}, CONVS),
        ({"ignored_scopes": ["TinyResNet/NNCFLinear[fc]/linear_0"]}, CONVS),
        ({"ignored_scopes": ["/nncf_model_input_0"]}, CONVS),
        ({"target_scopes": ["{re}layer1"]}, LAYER1),
        ({"target_scopes": ["{re}layer1"], "ignored_scopes": [r"{re}\[conv2\]"]}, LAYER1 & FIRST),
        ({"ignored_scopes": []}, CONVS),
        ({"ignored_scopes": ["Tiny{re}.*layer2"]}, CONVS - LAYER2),
        ({"ignored_scopes": ["{re}layer1", r"{re}\[conv1\]"]}, LAYER2 - FIRST),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else sorted(value)),
)  # fmt: skip
def test_patterns_select_what_they_select_in_nncf(scopes: dict[str, Any], expected: set[str]) -> None:
    assert binarized(transform(**scopes)) == expected


@pytest.mark.parametrize(
    "scopes",
    [
        {"ignored_scopes": ["{re}conv2d_0$"]},
        {"ignored_scopes": [], "target_scopes": []},
        {"target_scopes": ["/nncf_model_input_0"]},
    ],
    ids=str,
)
def test_nothing_binarized_is_a_warning(scopes: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="no conv2d is binarized"):
        assert binarized(transform(**scopes)) == set()


def test_expression_that_matches_operators_by_accident_is_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = transform(target_scopes=["{re}layer1"], ignored_scopes=["{re}conv2"])
    assert binarized(model) == set()
    assert len(caught) == 2
    trap = str(caught[0].message)
    assert trap.startswith(
        'compression.ignored_scopes: "{re}conv2" matches 10 convolutions, 6 of them only by the operator at '
        'the end of the name, as in "TinyResNet/NNCFConv2d[conv1]/conv2d_0".'
    )
    assert r'For modules named conv2, write "{re}\\[conv2\\]"' in trap
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "pattern", ["{re}conv2d", "{re}conv2d_0", "{re}/conv", r"{re}\[conv2\]|\[0\]", "{re}.*_0$"]
)
def test_expression_that_spells_the_operator_out_is_no_surprise(pattern: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transform(ignored_scopes=[pattern])
    assert not [warning for warning in caught if "only by the operator" in str(warning.message)]


# Top-level lists decide which modules NNCF replaces, and so their names.


def test_top_level_ignored_modules_keep_their_class_names() -> None:
    top = {"ignored_scopes": ["{re}layer1"]}
    model = transform(top)
    assert binarized(model) == CONVS - LAYER1
    names = [name for name, _ in fxbin.node_names(model, config(top))]
    assert "TinyResNet/Sequential[layer1]/TinyBlock[0]/Conv2d[conv1]/conv2d_0" in names
    assert "TinyResNet/Sequential[layer1]/TinyBlock[0]/BatchNorm2d[bn1]/batch_norm_0" in names
    assert not [name for name in names if "layer1" in name and "NNCF" in name]
    assert CONV1 in names
    assert [name for name, _ in fxbin.node_names(TinyResNet(), config(top))] == names


def test_top_level_and_own_ignored_scopes_add_up() -> None:
    assert binarized(transform({"ignored_scopes": ["{re}layer1"]}, ignored_scopes=["{re}layer2"])) == {
        "conv1"
    }
    assert binarized(transform({"ignored_scopes": "{re}layer1"}, ignored_scopes="{re}layer2")) == {"conv1"}


def test_top_level_exact_name_is_as_good_as_the_algorithms() -> None:
    model = transform({"ignored_scopes": [CONV1]})
    assert binarized(model) == CONVS - {"conv1"}
    assert CONV1 in [name for name, _ in fxbin.node_names(model, config())]


def test_top_level_expression_with_the_prefix_excludes_and_leaves_names() -> None:
    model = transform({"ignored_scopes": [r"{re}TinyResNet/NNCFConv2d\[conv1\]"]})
    assert binarized(model) == CONVS - {"conv1"}
    assert CONV1 in [name for name, _ in fxbin.node_names(model, config())]


def test_top_level_expression_without_the_prefix_excludes_and_changes_names() -> None:
    model = transform({"ignored_scopes": [r"{re}TinyResNet/Conv2d\[conv1\]"]})
    assert binarized(model) == CONVS - {"conv1"}
    assert "TinyResNet/Conv2d[conv1]/conv2d_0" in [name for name, _ in fxbin.node_names(model, config())]


def test_top_level_target_scopes_leave_other_names_without_prefix() -> None:
    top = {"target_scopes": ["{re}layer1"]}
    model = transform(top)
    assert binarized(model) == LAYER1
    names = [name for name, _ in fxbin.node_names(model, config(top))]
    assert "TinyResNet/Conv2d[conv1]/conv2d_0" in names
    assert "TinyResNet/Linear[fc]/linear_0" in names
    assert "TinyResNet/Sequential[layer1]/TinyBlock[0]/NNCFConv2d[conv1]/conv2d_0" in names


def test_top_level_target_scopes_win_and_the_others_are_reported() -> None:
    top = {"target_scopes": ["{re}layer1"]}
    with pytest.warns(UserWarning, match="compression.target_scopes: without effect"):
        assert binarized(transform(top, target_scopes=["{re}layer2"])) == LAYER1
    notes = fxbin.load_config(config(top, target_scopes=["{re}layer2"])).notes
    assert any(note.startswith("compression.target_scopes: without effect") for note in notes)


def test_top_level_exact_module_is_an_error_with_a_hint() -> None:
    with pytest.raises(ScopeError, match=r'^ignored_scopes: "TinyResNet/Conv2d\[conv1\]" matches no'):
        transform({"ignored_scopes": ["TinyResNet/Conv2d[conv1]"]})


def test_top_level_pattern_of_a_module_counts_without_validation() -> None:
    with pytest.warns(UserWarning, match="matches no node"):
        model = transform({"ignored_scopes": ["TinyResNet/Conv2d[conv1]"]}, validate_scopes=False)
    assert binarized(model) == CONVS - {"conv1"}


class HeldTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 3, 1))
        self.right = nn.Sequential(self.left[0])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.right(self.left(x))
        return y


@pytest.mark.parametrize(
    ("top", "prefix"),
    [
        ({"ignored_scopes": ["{re}left"]}, ""),
        ({"ignored_scopes": ["{re}right"]}, ""),
        ({"target_scopes": ["{re}left"]}, "NNCF"),
        ({"target_scopes": ["{re}right"]}, "NNCF"),
    ],
    ids=str,
)
def test_one_of_several_places_of_a_module_decides(top: dict[str, Any], prefix: str) -> None:
    names = [name for name, op in fxbin.node_names(HeldTwice(), config(top)) if op == "conv2d"]
    assert names == [f"HeldTwice/Sequential[{side}]/{prefix}Conv2d[0]/conv2d_0" for side in ("left", "right")]


# Patterns that match nothing.


def message(top: dict[str, Any] | None = None, **section: Any) -> str:
    with pytest.raises(ScopeError) as caught:
        transform(top, **section)
    return str(caught.value)


BLOCK = "TinyResNet/Sequential[layer1]/TinyBlock[0]"
MISSES = {
    "TinyResNet/NNCFConv2d[conv1]": [f'It is a module, with 1 operator in it: did you mean "{CONV1}"?'],
    "TinyResNet/Sequential[layer1]": [
        "It is a module, with 14 operators in it: ",
        f'did you mean "{BLOCK}/NNCFConv2d[conv1]/conv2d_0"',
        r'or all of them, "{re}TinyResNet/Sequential\\[layer1\\]"?',
    ],
    "TinyResNet/Sequential[layer1]/": ["It is a module"],
    "TinyResNet/Conv2d[conv1]/conv2d_0": [f'Did you mean "{CONV1}"? The class of a plain nn.Conv2d'],
    "TinyResNet/Conv2d[conv1]": [f'It is a module, with 1 operator in it: did you mean "{CONV1}"'],
    f"{BLOCK}/NNCFReLU[relu]/relu__0": [f'Did you mean "{BLOCK}/ReLU[relu]/relu__0"? Only plain nn.Conv2d'],
    f" {CONV1} ": [f'Did you mean "{CONV1}"? Case and spaces count.'],
    CONV1.lower(): [f'Did you mean "{CONV1}"? Case and spaces count.'],
    "module.layer1.0.conv1": ['Did you mean "layer1.0.conv1"? Names of modules are those that PyTorch gives'],
    "0.conv1": ['Did you mean "layer1.0.conv1", "layer2.0.conv1"?'],
    "layer1.0.conv3": ['Did you mean "layer1.0.conv'],
    "layer1.0.conv1/conv2d_1": ['Did you mean "layer1.0.conv1/conv2d_0"? Operators are counted'],
    "layer1.0.relu/relu__5": ['Did you mean "layer1.0.relu/relu__0", "layer1.0.relu/relu__1"?'],
    "layer1.0/conv2d_0": ['Did you mean "layer1.0.conv1/conv2d_0", "layer1.0.conv2/conv2d_0"?'],
    "TinyResNet/NNCFConv2d[conv1]/conv2d_1": [f'Closest: "{CONV1}"'],
    "{re}layer1.0": ['Names of modules are written without {re}: "layer1.0" matches 7 nodes.'],
    r"{re}^layer1\.0\.conv1$": ['written without {re}: "layer1.0.conv1" matches 1 node.'],
    "{re}TinyResNet/NNCFConv2d[conv1]": [
        r'Brackets need a backslash: "{re}TinyResNet/NNCFConv2d\\[conv1\\]" matches 1 node.'
    ],
    r"{re}TinyResNet/Conv2d\[conv1\]": [r'"{re}TinyResNet/(NNCF)?Conv2d\\[conv1\\]" matches 1 node.'],
    r"{re}NNCFReLU\[relu\]": [r'"{re}ReLU\\[relu\\]" matches 9 nodes.'],
    "{re}^TinyBlock": ['without ^ and $, "{re}TinyBlock" matches'],
    "{re}Layer1": ['Case counts: "{re}(?i:Layer1)" matches'],
    "{re}TinyBlock ": ['Spaces count: "{re}TinyBlock" matches'],
    "{re}foo.*": [],
}  # fmt: skip


@pytest.mark.parametrize("pattern", MISSES)
def test_pattern_that_matches_nothing_is_an_error_with_near_misses(pattern: str) -> None:
    text = message(ignored_scopes=[pattern])
    assert text.startswith(f"compression.ignored_scopes: {json.dumps(pattern)} matches no node of the model.")
    for hint in MISSES[pattern]:
        assert hint in text
    assert "`fxbin scopes`" in text


READERS: dict[str, tuple[Quote, str, list[Callable[[str], Any]]]] = {
    "config": (for_config, r'"(?:[^"\\]|\\.)*"', [json.loads, json5.loads, ast.literal_eval]),
    "shell": (for_shell, r"'[^']*'", [lambda text: shlex.split(text)[0]]),
}
"""For each place where a pattern is written: how hints quote it, what that looks like, and who reads it."""


@pytest.mark.parametrize("pattern", MISSES)
@pytest.mark.parametrize("place", READERS)
def test_everything_that_is_suggested_matches_when_it_is_pasted(place: str, pattern: str) -> None:
    names = [name for name, _ in fxbin.node_names(TinyResNet(), config())]
    quote, literal, readers = READERS[place]
    for hint in hints(pattern, names, quote=quote):
        suggested = [read(text) for text in re.findall(literal, hint) for read in readers]
        assert suggested
        assert all(any(matches(name, one) for name in names) for one in suggested)


def test_module_in_which_nothing_runs_is_named_as_one() -> None:
    class Unused(TinyResNet):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Conv2d(3, 3, 1)

    with pytest.raises(
        ScopeError, match=r'"unused" matches no .* The model has this module, but no operator'
    ):
        fxbin.transform(Unused(), config(ignored_scopes=["unused"]))


def test_other_name_of_a_module_is_answered_with_the_one_that_runs() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Conv2d(3, 3, 1)
            self.spare = nn.Sequential(self.left)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.left(x)
            return y

    with pytest.raises(ScopeError, match='runs this module under another name: did you mean "left"'):
        fxbin.transform(Held(), config(ignored_scopes=["spare.0"]))


def test_all_unmatched_patterns_are_listed_and_only_those() -> None:
    text = message({"ignored_scopes": "quux"}, ignored_scopes=["foo", CONV1, "bar"], target_scopes=["tg"])
    assert [line.split(" matches")[0] for line in text.splitlines()[:-1]] == [
        'ignored_scopes: "quux"',
        'compression.ignored_scopes: "foo"',
        'compression.ignored_scopes: "bar"',
        'compression.target_scopes: "tg"',
    ]


def test_validate_scopes_false_warns_instead() -> None:
    with pytest.warns(UserWarning, match='"foo" matches no node'):
        assert binarized(transform(ignored_scopes=["foo"], validate_scopes=False)) == CONVS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert binarized(transform(target_scopes=["foo"], validate_scopes=False)) == set()
    assert str(caught[1].message) == "no conv2d is binarized: not in target_scopes"


def test_invalid_expression_is_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"ignored_scopes\[0\]: got .*unterminated.* JSON has each"):
        transform(ignored_scopes=["{re}[conv1"])


# Per node, not per module; and which call sites.


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x).relu())
        return y


@pytest.mark.usefixtures("in_float")  # compared to the bit
def test_one_of_two_calls_of_a_conv_can_be_ignored() -> None:
    scopes: dict[str, Any] = {"ignored_scopes": ["Twice/NNCFConv2d[conv]/conv2d_0"]}
    model: Any = fxbin.transform(Twice(), config(**scopes))
    assert list(model.binarization.sites) == ["Twice/NNCFConv2d[conv]/conv2d_1"]
    x = torch.rand(1, 3, 8, 8)
    first = nn.functional.conv2d(x, model.conv.weight, model.conv.bias, padding=1).relu()
    model.binarization.enable(activations=True, weights=True)
    site = model.binarization.sites["Twice/NNCFConv2d[conv]/conv2d_1"]
    expected = nn.functional.conv2d(
        site.activation(first), site.weight(model.conv.weight), model.conv.bias, padding=1
    )
    model.eval()
    assert (model(x) == expected).all()


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 3, 1)
        self.own = OwnConv2d(3, 3, 1)
        self.weight = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.own(self.plain(x))
        return nn.functional.conv2d(y, self.weight)


class OwnConv2d(nn.Conv2d):
    pass


def test_call_sites_modules_is_the_set_of_nncf() -> None:
    every = fxbin.transform(Several(), config())
    assert len(every.binarization.sites) == 3
    modules = fxbin.transform(Several(), config(call_sites="modules"))
    assert list(modules.binarization.sites) == ["Several/NNCFConv2d[plain]/conv2d_0"]
