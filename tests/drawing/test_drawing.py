import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.config.operator_name import scope_elements
from fxbin.drawing.dot import shortened, visible
from tests.transforming import SMALL, Small, config

CONFIGS = Path(__file__).parents[2] / "configs"
needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz's program `dot` is not installed"
)


class Everything(nn.Module):
    """Two inputs, a dict as output, a shared block, a kernel of its own, tuples, sizes, odd names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.kernel = nn.Parameter(torch.randn(4, 2, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.heads = nn.ModuleDict({"a/b {x|y}<z>&": nn.Conv2d(4, 2, 1), "c": nn.Linear(4, 2)})
        self.aux = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor, y: Tensor, flag: bool | None = None) -> dict[str, Tensor]:
        x = self.stem(x) + y.mean((2, 3), keepdim=True)
        x = self.block(self.block(x).neg()) * self.gamma
        a, b = F.conv2d(x, self.kernel, groups=2).chunk(2, 1)
        x = torch.cat([b, a], 1).view(x.shape[0], 4, -1, x.shape[3])
        out = {"map": self.heads["a/b {x|y}<z>&"](x), "class": self.heads["c"](x.mean((2, 3)))}
        out["mixed"] = F.conv2d(x, y[:1, :, :1, :1])
        if self.training:
            out["aux"] = self.aux(x)
        return out


@pytest.fixture(scope="module")
def everything() -> BinarizedModule:
    infos = [{"sample_size": [2, 3, 8, 8]}, {"sample_size": [2, 4, 8, 8]}]
    ignoring = config(ignored_scopes=["{re}stem"])
    return fxbin.transform(Everything(), {**ignoring, "input_info": infos})


def kinds(graph: "nx.DiGraph[str]") -> dict[str, str]:
    return {data["name"]: data["kind"] for _, data in graph.nodes(data=True)}


# As data.


def test_networkx_has_every_node_with_its_attributes() -> None:
    model = fxbin.transform(Small(), config(2, 3, 8, 8, ignored_scopes=["{re}conv1"]))
    graph = fxbin.to_networkx(model)
    assert [*graph] == [node.name for node in model.graph.nodes]
    assert graph.nodes["conv1"] == {
        "name": "Small/NNCFConv2d[conv1]/conv2d_0",
        "names": ("Small/NNCFConv2d[conv1]/conv2d_0",),
        "op": "conv2d",
        "target": "conv1",
        "scope": "Small/NNCFConv2d[conv1]",
        "owner": "conv1",
        "kind": "full_precision_conv2d",
        "shape": (2, 8, 8, 8),
        "dtype": "float32",
        "reason": 'in ignored_scopes: "{re}conv1"',
    }
    assert graph.edges["conv1", "bn"] == {"shape": (2, 8, 8, 8), "dtype": "float32"}
    assert nx.is_directed_acyclic_graph(graph)
    json.dumps(nx.node_link_data(graph, edges="edges"))


def test_networkx_tells_kinds_apart(everything: BinarizedModule) -> None:
    found = kinds(fxbin.to_networkx(everything))
    head = "Everything/ModuleDict[heads]/NNCFConv2d[a/b {x|y}<z>&]"
    assert found["/nncf_model_input_0"] == found["/nncf_model_input_1"] == "input"
    assert found["/nncf_model_output_2"] == "output"  # named, as any node, after the last it does
    assert found["Everything/NNCFConv2d[stem]/conv2d_0"] == "full_precision_conv2d"
    assert found["Everything/conv2d_0"] == found[f"{head}/conv2d_0"] == "binarized_conv2d"
    assert found[f"{head}/activation_binarizer_0"] == "activation_binarizer"
    assert found["Everything/weight_binarizer_0"] == "weight_binarizer"
    assert found["gamma"] == found["kernel"] == "parameter"
    assert found["Everything/chunk_0"] == "operator"
    graph = fxbin.to_networkx(everything)
    values = [data["target"] for _, data in graph.nodes(data=True) if data["kind"] == "value"]
    assert any("getitem" in target for target in values)
    assert any("check_specialised" in target for target in values)


def test_networkx_has_the_graph_of_train_mode_too(everything: BinarizedModule) -> None:
    assert "Everything/Conv2d[aux]/conv2d_0" not in kinds(fxbin.to_networkx(everything))
    found = fxbin.to_networkx(everything, graph="train")
    aux = next(data for _, data in found.nodes(data=True) if data["owner"] == "aux")
    assert aux["reason"] == "it runs in train mode only"
    small = fxbin.transform(nn.Sequential(nn.Conv2d(3, 3, 1)), config(1, 3, 4, 4))
    assert [*fxbin.to_networkx(small, graph="train")] == [*fxbin.to_networkx(small)]
    with pytest.raises(ValueError, match='graph: expected "eval" or "train", got \'both\''):
        fxbin.to_networkx(small, graph="both")  # type: ignore[arg-type]


def test_parts_of_a_result_have_shapes(everything: BinarizedModule) -> None:
    graph = fxbin.to_networkx(everything)
    (chunk,) = [name for name, data in graph.nodes(data=True) if data["op"] == "chunk"]
    parts = [part for part in graph.successors(chunk) if "getitem" in graph.nodes[part]["target"]]
    assert [graph.nodes[part]["shape"] for part in parts] == [(2, 2, 8, 8)] * 2


# As a drawing.


def test_what_is_drawn_is_connected(everything: BinarizedModule) -> None:
    drawn = visible(fxbin.to_networkx(everything))
    assert {data["kind"] for _, data in drawn.nodes(data=True)}.isdisjoint({"value"})
    (chunk,) = [name for name, data in drawn.nodes(data=True) if data["op"] == "chunk"]
    (cat,) = [name for name, data in drawn.nodes(data=True) if data["op"] == "cat"]
    assert drawn.edges[chunk, cat]["shape"] == (2, 2, 8, 8)
    assert {data["target"] for _, data in drawn.nodes(data=True) if data["kind"] == "parameter"} == {"gamma"}
    assert nx.is_weakly_connected(drawn)


def test_drawing_has_names_shapes_and_reasons(everything: BinarizedModule) -> None:
    source = fxbin.to_dot(everything, graph="train").source
    drawn = visible(fxbin.to_networkx(everything, graph="train"))
    for _, data in drawn.nodes(data=True):
        if data["names"]:
            assert data["name"] in source
    assert "<i>in ignored_scopes: &quot;{re}stem&quot;</i>" in source
    assert "<i>its weight depends on the input</i>" in source
    assert "<i>it runs in train mode only</i>" in source
    assert 'label=" 2\N{MULTIPLICATION SIGN}4\N{MULTIPLICATION SIGN}8\N{MULTIPLICATION SIGN}8"' in source
    assert "Everything, train mode: 4 of 7 conv2d binarized, stage: full precision" in source


def test_kinds_differ_in_colour_and_in_shape() -> None:
    from fxbin.drawing.style import LEGEND, NODES

    for what in ("fillcolor", "shape"):
        values = [NODES[kind].get(what, "none") for kind in LEGEND]
        if what == "fillcolor":
            assert len(set(values)) == len(values)
    binarizing = list(LEGEND)[:4]
    assert len({(NODES[kind]["shape"], NODES[kind].get("peripheries")) for kind in binarizing}) == 4


def test_legend_has_what_is_there() -> None:
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 3, 1)), config(1, 3, 4, 4))
    source = fxbin.to_dot(model).source
    assert "binarized conv2d" in source
    assert "conv2d in full precision" not in source


def test_module_called_twice_has_two_boxes(everything: BinarizedModule) -> None:
    source = fxbin.to_dot(everything).source
    assert len(re.findall(r"label=<<table.*>Sequential\[block\]</td>", source)) == 2


def test_long_names_are_shortened_in_labels_only() -> None:
    name = "x" * 100
    model = fxbin.transform(Long(name), config(1, 3, 4, 4))
    source = fxbin.to_dot(model).source
    assert f"Long/NNCFConv2d[{name}]/conv2d_0" in source
    assert shortened(f"NNCFConv2d[{name}]") in source
    assert len(shortened(name)) == 44
    assert shortened("short") == "short"


class Long(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


@pytest.mark.parametrize(
    ("scope", "elements"),
    [
        ("", ()),
        ("Net", ("Net",)),
        ("Net/Block[0]/Conv2d[a/b]", ("Net", "Block[0]", "Conv2d[a/b]")),
        ("Net/Conv2d[x]y]", ("Net", "Conv2d[x]y]")),
        ("Net/<lambda>", ("Net", "<lambda>")),
        ("Net//x", ("Net//x",)),
    ],
)
def test_scopes_come_apart_at_modules(scope: str, elements: tuple[str, ...]) -> None:
    assert scope_elements(scope) == elements


def plain(source: str) -> list[list[str]]:
    """What Graphviz understood: the lines of its plain format. Any complaint is an error."""
    run = subprocess.run(
        ["dot", "-Tplain"], input=source.encode(), capture_output=True, check=True, timeout=60
    )
    assert run.stderr == b""
    return [line.split() for line in run.stdout.decode().splitlines()]


@needs_dot
@pytest.mark.parametrize("graph", ["eval", "train"])
def test_graphviz_draws_it(everything: BinarizedModule, graph: Any) -> None:
    drawn = visible(fxbin.to_networkx(everything, graph=graph))
    lines = plain(fxbin.to_dot(everything, graph=graph).source)
    assert {line[1] for line in lines if line[0] == "node"} >= set(drawn)
    assert {(line[1], line[2]) for line in lines if line[0] == "edge"} >= set(drawn.edges)


@needs_dot
def test_graphviz_draws_a_model_in_which_nothing_is_binarized() -> None:
    with pytest.warns(UserWarning, match="no conv2d is binarized"):
        model = fxbin.transform(Small(), config(2, 3, 8, 8, ignored_scopes=["{re}conv"]))
    source = fxbin.to_dot(model).source
    assert "0 of 2 conv2d binarized" in source
    assert plain(source)


@needs_dot
def test_graphviz_draws_resnet18_as_a_strip() -> None:
    models = pytest.importorskip("torchvision.models")
    model = fxbin.transform(models.resnet18(), CONFIGS / "resnet18_imagenet_xnor.json5")
    dot = fxbin.to_dot(model)
    assert dot.source.count("<i>in ignored_scopes</i>") == 4
    width, height = map(float, plain(dot.source)[0][2:4])
    assert width < 11 < height  # inches: one screen wide


def boxes_and_arrows(source: str) -> tuple[list[tuple[float, float, float, float]], list[list[complex]]]:
    """Where Graphviz puts the titles of boxes (left, bottom, right, top), and the points of each arrow."""
    run = subprocess.run(
        ["dot", "-Tjson"], input=source.encode(), capture_output=True, check=True, timeout=60
    )
    drawn = json.loads(run.stdout)
    titles = []
    for box in drawn["objects"]:
        if box["name"].startswith("cluster") and "legend" not in box["name"]:
            x, y = map(float, box["lp"].split(","))
            width, height = 72 * float(box["lwidth"]), 72 * float(box["lheight"])
            # The left half of the label is empty.
            titles.append((x, y - height / 2, x + width / 2, y + height / 2))
    shown = [edge for edge in drawn["edges"] if edge.get("style") != "invis"]
    arrows = [[complex(*map(float, p.split(","))) for p in edge["pos"][2:].split()] for edge in shown]
    return titles, arrows


@needs_dot
def test_no_arrow_crosses_the_title_of_a_box() -> None:
    models = pytest.importorskip("torchvision.models")
    model = fxbin.transform(models.resnet18(), CONFIGS / "resnet18_imagenet_xnor.json5")
    titles, arrows = boxes_and_arrows(fxbin.to_dot(model, collapse=2).source)
    assert len(titles) == 4
    for left, _, right, _ in titles:
        for points in arrows:
            # All of them lead straight down.
            assert not any(left < point.real < right for point in points)


def test_stage_is_in_the_title() -> None:
    model = fxbin.transform(Small(), SMALL)
    model.binarization.enable(activations=True, weights=True)
    assert "stage: activations and weights" in fxbin.to_dot(model).source


# Folded.


def labels(source: str) -> dict[str, str]:
    """The labels of the nodes that a DOT text draws, by key, without those of the legend."""
    found = re.findall(r"^\t+(?!edge|node|graph|subgraph)(\w+) \[label=<(.+?)> \w+=", source, re.MULTILINE)
    return dict(found)


def test_modules_fold_from_a_depth_on() -> None:
    model = fxbin.transform(Nested(), config(1, 3, 8, 8, ignored_scopes=["body.1.0"]))
    assert set(labels(fxbin.to_dot(model, collapse=1).source).values()) == {
        "x",
        "NNCFConv2d[stem]<br/>1 of 1 conv2d binarized",
        "Sequential[body]<br/>1 of 2 conv2d binarized",
        "__add___0",
        "output",
    }
    second = labels(fxbin.to_dot(model, collapse=2).source).values()
    assert {"Sequential[0]<br/>1 of 1 conv2d binarized", "Sequential[1]<br/>0 of 1 conv2d binarized"} < {
        *second
    }
    assert labels(fxbin.to_dot(model, collapse=9).source) == labels(fxbin.to_dot(model).source)


def test_folded_drawing_keeps_edges_between_modules() -> None:
    source = fxbin.to_dot(fxbin.transform(Nested(), config(1, 3, 8, 8)), collapse=1).source
    first_line = {key: label.partition("<br/>")[0] for key, label in labels(source).items()}
    edges = {
        (first_line[a], first_line[b]) for a, b in re.findall(r"^\t(\w+) -> (\w+)", source, re.MULTILINE)
    }
    stem, body, add = "NNCFConv2d[stem]", "Sequential[body]", "__add___0"
    assert edges == {("x", stem), (stem, body), (stem, add), (body, add), (add, "output")}
    assert "Nested/Sequential[body]/Sequential[1]/NNCFConv2d[0]/conv2d_0: binarized" in source


@pytest.mark.parametrize("depth", [0, -1, 1.5, True, "2"])
def test_depth_that_is_no_count_is_an_error(depth: Any) -> None:
    model = fxbin.transform(Nested(), config(1, 3, 8, 8))
    with pytest.raises(ValueError, match="collapse: expected a whole number from 1 on, got"):
        fxbin.to_dot(model, collapse=depth)


def test_module_that_computes_nothing_does_not_cut_the_call_around_it() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity(), nn.Conv2d(4, 4, 1))
    model = fxbin.transform(nn.Sequential(body, nn.ReLU()), config(1, 3, 8, 8), leaf_modules=[nn.Identity])
    shown = labels(fxbin.to_dot(model, collapse=1).source).values()
    assert "Sequential[0]<br/>2 of 2 conv2d binarized" in shown
    assert not [label for label in shown if "Conv2d" in label]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = x + self.body(x)
        return y


@needs_dot
def test_folded_resnet18_fits_a_page() -> None:
    models = pytest.importorskip("torchvision.models")
    model = fxbin.transform(models.resnet18(), CONFIGS / "resnet18_imagenet_xnor.json5")
    for depth, limit in ((1, 11.7), (2, 16.5)):  # inches: DIN A4 at 100 %, and DIN A3
        width, height = map(float, plain(fxbin.to_dot(model, collapse=depth).source)[0][2:4])
        assert width < 8.3
        assert height < limit


class TwoOperators(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp().cos()


class BoxesAlone(nn.Module):
    """All that it does is in its two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = TwoOperators(), TwoOperators()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return y


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.conv = BoxesAlone(), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(self.conv(self.part(x)))
        return y


def test_boxes_of_two_calls_have_two_names_even_if_all_nodes_are_in_boxes_inside() -> None:
    config = {"input_info": {"sample_size": [1, 3, 4, 4]}, "compression": {"algorithm": "binarization"}}
    source = str(fxbin.to_dot(fxbin.transform(CalledTwice(), config)))
    names = re.findall(r'subgraph "?(cluster [^"{]*)', source)
    assert len([name for name in names if name.endswith("BoxesAlone[part]")]) == 2
    assert len(names) == len(set(names))
