"""Models whose code no graph can hold, as a whole: what they call is binarized around it."""

import copy
import importlib
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.errors import ExportError, TraceError, TransformError
from fxbin.module import BinarizedModule
from fxbin.nncf.keys import entries
from fxbin.nncf.load import match_keys
from tests.transform_check import CONFIG, Case, check, same
from tests.transforming import config, freeze_batch_norm
from tests.zoo import DATA

CASES: dict[str, Any] = importlib.import_module("tests.data.corner_cases").CASES
CORNER_CASES: dict[str, dict[str, Any]] = json.loads((DATA / "corner_cases.json").read_text())


def block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


class Pyramid(nn.Module):
    """Feature maps of three sizes, halved by a convolution and refined by one that all share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 8)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        self.lateral = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = [self.stem(x)]
        for conv in self.down:
            maps.append(F.relu(conv(maps[-1])))
        return {str(level): self.lateral(found) for level, found in enumerate(maps)}


class Head(nn.Module):
    """Called with the maps of all levels at once."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = block(8, 8)
        self.score = nn.Conv2d(8, 1, 1)
        self.box = nn.Conv2d(8, 4, 1)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        towers = [self.tower(found) for found in maps]
        return [self.score(x) for x in towers], [self.box(x) for x in towers]


class Crops(nn.Module):
    """Looks at a piece of a map for each box that was kept: any number, none included."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(F.relu(self.conv(x)).mean((2, 3)))
        return y


class Detector(nn.Module):
    """Images of several sizes in, a dict for each of them out; losses in training, which takes targets."""

    threshold = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.head = Head()
        self.crops = Crops()
        self.dropout = nn.Dropout(0.3)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> Any:
        if self.training and targets is None:
            raise ValueError("targets should not be None when in training mode")
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        batch = torch.stack(
            [F.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images],
        )
        maps = self.backbone(batch)
        scores, boxes = self.head(list(maps.values()))
        flat = torch.cat([score.flatten(1) for score in scores], 1).sigmoid()
        if self.training:
            assert targets is not None
            loss = F.binary_cross_entropy(self.dropout(flat).clamp(0, 1), torch.ones_like(flat))
            crops = self.crops(self.pieces(maps["0"][:1], len(targets[0])))
            return {"score": loss, "class": crops.sum(), "box": sum(box.square().mean() for box in boxes)}
        return [self.detect(flat[i], maps["0"][i : i + 1]) for i in range(len(images))]

    def detect(self, scores: Tensor, found: Tensor) -> dict[str, Tensor]:
        kept = torch.nonzero(scores > self.threshold).flatten()
        return {"kept": kept, "labels": self.crops(self.pieces(found, len(kept)))}

    def pieces(self, found: Tensor, count: int) -> Tensor:
        return found[:, :, :4, :4].expand(count, -1, -1, -1)


IMAGES = ([torch.rand(3, 16, 20)],)


def detector() -> BinarizedModule:
    return fxbin.transform(Detector(), CONFIG, IMAGES)


def test_detector_is_what_it_was_and_learns_in_one_bit() -> None:
    model = Detector()
    found = check(
        Case(model, lambda batch: ([torch.rand(3, 16, 20 + i) for i in range(batch)],), trains=False)
    )
    assert not found.problems
    assert found.sites == 1 + 2 + 3 + 3 * 3 + 1


def test_training_step_of_a_detector_is_the_same() -> None:
    model, images = Detector().train(), [torch.rand(3, 12, 12), torch.rand(3, 9, 14)]
    binarized = fxbin.transform(model, CONFIG, IMAGES)
    for count in (0, 1, 3):
        targets = [torch.rand(count, 4)] * 2
        results = []
        for either in (model, binarized):
            torch.manual_seed(3)
            losses = either(images, targets)
            either.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            results.append((losses, [p.grad for n, p in either.named_parameters() if "_binarizer" not in n]))
        assert same(*results)
    assert same([*model.buffers()], [b for n, b in binarized.named_buffers() if "_binarizer" not in n])
    binarized.binarization.enable(activations=True, weights=True)
    torch.stack(list(binarized(images, targets).values())).sum().backward()
    for name, parameter in binarized.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_report_says_what_runs_as_it_is_and_why() -> None:
    report = fxbin.summary(detector())
    assert [island.scope for island in report.islands] == ["Detector", "Detector/Head[head]"]
    assert "content" in report.islands[0].reason
    assert f"{__file__}:" in report.islands[0].reason
    assert "len(maps)" in report.islands[1].reason
    assert "runs as it is: Detector: " in str(report)
    assert report.to_dict()["islands"][1]["owner"] == "head"


def test_parts_are_the_largest_modules_that_are_good_for_all_calls() -> None:
    assert sorted(detector().traced_parts) == ["backbone", "crops", "head.box", "head.score", "head.tower"]


def test_call_sites_have_the_names_that_they_have_in_the_model() -> None:
    binarized = detector()
    names = [name for name, op in fxbin.node_names(binarized, CONFIG) if op == "conv2d"]
    assert names == [name for name, op in fxbin.node_names(Detector(), CONFIG, IMAGES) if op == "conv2d"]
    assert "Detector/Pyramid[backbone]/NNCFConv2d[lateral]/conv2d_2" in names
    assert "Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_2" in names
    assert set(binarized.binarization.sites) == set(names)


def test_calls_of_a_part_share_its_binarizers_and_calls_inside_of_it_have_their_own() -> None:
    sites = detector().binarization.sites
    tower = [sites[f"Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_{i}"] for i in range(3)]
    lateral = [sites[f"Detector/Pyramid[backbone]/NNCFConv2d[lateral]/conv2d_{i}"] for i in range(3)]
    assert len({site.activation for site in tower}) == 1
    assert len({site.activation for site in lateral}) == 3
    assert len({site.weight for site in lateral}) == 1


def test_ignored_call_leaves_all_calls_of_its_part_alone() -> None:
    name = "Detector/Head[head]/Sequential[tower]/NNCFConv2d[0]/conv2d_1"
    settings = config(1, 3, 8, 8, ignored_scopes=[name])
    report = fxbin.summary(fxbin.transform(Detector(), settings, IMAGES))
    assert [s.reason.split(":")[0] for s in report.sites if "tower" in s.name] == ["in ignored_scopes"] * 3


@pytest.mark.parametrize("case", ["ShapeControlFlow"])
def test_selected_call_sites_are_those_of_nncf(case: str) -> None:
    settings = {"compression": {"algorithm": "binarization", "call_sites": "modules"}}
    binarized = fxbin.transform(CASES[case](), settings, CASES[case].sample_inputs())
    assert set(binarized.binarization.sites) == set(CORNER_CASES[case]["targets"])
    assert [list(node) for node in fxbin.node_names(binarized, settings)] == CORNER_CASES[case]["nodes"]
    assert fxbin.summary(binarized).never_ran == ("big",)


def test_model_of_which_only_content_decides_and_that_has_no_conv2d_is_refused_as_ever() -> None:
    with pytest.raises(TransformError, match="SkipTraceOps runs no conv2d in eval mode"):
        fxbin.transform(CASES["SkipTraceOps"](), CONFIG, CASES["SkipTraceOps"].sample_inputs())


class Sometimes(nn.Module):
    """Calls a convolution as often as the content says, and another one by its function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.kernel = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.mean() * 10)):
            x = self.conv(x).sigmoid() / 3
        return F.conv2d(x, self.kernel)


def test_convolution_is_called_as_often_as_content_says() -> None:
    model = Sometimes()
    binarized = fxbin.transform(model, CONFIG, (torch.full((1, 3, 8, 8), 0.15),))
    for value in (0.0, 0.15, 0.25):
        x = torch.full((2, 3, 6, 6), value)
        assert torch.equal(model(x), binarized(x))
    conv, function = fxbin.summary(binarized).sites
    assert conv.binarized
    assert function.reason.startswith("the code of Sometimes calls it, which runs as it is: ")


class Inside(nn.Module):
    """A branch on content deep in a model that can be traced otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 4)
        self.branch = Branch()
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.dropout(self.branch(self.stem(x)), 0.2, self.training))
        return y


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Sequential(block(4, 4), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(x) if x.sum() > 0 else self.one(x)
        return y


def test_code_around_an_island_is_one_graph() -> None:
    model = Inside()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert not found.problems
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert [island.owner for island in binarized.islands] == ["branch"]
    assert list(binarized.traced_parts) == ["branch.two"]
    assert [s.name for s in fxbin.summary(binarized).sites if s.binarized] == [
        "Inside/Sequential[stem]/NNCFConv2d[0]/conv2d_0",
        "Inside/Branch[branch]/Sequential[two]/Sequential[0]/NNCFConv2d[0]/conv2d_0",
        "Inside/NNCFConv2d[last]/conv2d_0",
    ]
    assert fxbin.summary(binarized).never_ran == ("branch.one",)


class NeedsTargets(nn.Module):
    """Can be traced in eval mode; in train mode it wants more than the example inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = block(3, 2)
        self.kernel = nn.Parameter(torch.rand(2, 2, 1, 1))

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        x = self.head(self.conv(F.relu(self.conv(x))))
        if not self.training:
            return F.conv2d(x, self.kernel)
        if target is None:
            raise ValueError("no target")
        return (x - target).square().mean()


def test_model_that_cannot_be_traced_in_train_mode_is_an_island_there() -> None:
    model, x = NeedsTargets(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert torch.equal(model.eval()(x), binarized.eval()(x))
    target = torch.rand(2, 2, 8, 8)
    assert torch.equal(model.train()(x, target), binarized.train()(x, target))
    with pytest.raises(ValueError, match="no target"):
        binarized(x)
    (island,) = binarized.islands
    assert island.reason.startswith("in train mode: ValueError: no target")
    first, second, head, function = fxbin.summary(binarized).sites
    assert (first.binarized, second.binarized, head.binarized, function.binarized) == (
        True,
        True,
        True,
        False,
    )
    binarized.binarization.enable(activations=True, weights=True)
    binarized(x, target).backward()
    assert all(site.activation.scale.grad is not None for site in binarized.binarization.sites.values())
    sites = list(binarized.binarization.sites.values())
    assert sites[0].activation is sites[1].activation


def test_model_that_can_be_traced_in_eval_mode_can_be_exported(tmp_path: Any) -> None:
    pytest.importorskip("onnxscript")
    binarized = fxbin.transform(NeedsTargets(), CONFIG, (torch.rand(1, 3, 8, 8),))
    binarized.binarization.enable(activations=True, weights=True)
    assert (
        len(fxbin.export_onnx(binarized.eval(), tmp_path / "model.onnx", (torch.rand(1, 3, 8, 8),)).sites)
        == 3
    )


def test_export_of_a_model_that_no_graph_can_hold_names_the_islands(tmp_path: Any) -> None:
    with pytest.raises(
        ExportError, match=r"Detector has code that no graph can hold, in Detector, .*Head\[head\]"
    ):
        fxbin.export_onnx(detector(), tmp_path / "model.onnx", IMAGES)


def test_drawing_shows_the_run_that_was_seen() -> None:
    binarized = detector()
    graph = fxbin.to_networkx(binarized)
    kinds = [data["kind"] for _, data in graph.nodes(data=True) if data["op"] == "conv2d"]
    assert kinds.count("binarized_conv2d") == len(binarized.binarization.sites)
    assert "Head[head]" in fxbin.to_dot(binarized).source
    with pytest.raises(ValueError, match="runs as it is in train mode"):
        fxbin.to_networkx(binarized, graph="train")


class Mixed(nn.Module):
    """A block that is called as a whole, and of which one part is called alone."""

    def __init__(self) -> None:
        super().__init__()
        self.block = block(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        y: Tensor = self.block[0](x) if x.sum() > 0 else x
        return y


def test_block_whose_part_is_called_alone_is_no_part_itself() -> None:
    model, x = Mixed(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG, (x,))
    assert list(binarized.traced_parts) == ["block.0"]
    assert binarized.islands[1].reason == "block.0 is also called from outside of it"
    assert torch.equal(model(x), binarized(x))


class Objects:
    """Tensors where no tracer looks for them."""

    def __init__(self, items: list[Tensor]) -> None:
        self.items = items


class TakesObjects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, batch: Objects) -> Objects:
        return Objects([self.conv(item) for item in batch.items])


def test_model_that_takes_and_gives_objects_is_an_island() -> None:
    model, x = TakesObjects(), torch.rand(2, 3, 4, 4)
    binarized = fxbin.transform(model, CONFIG, (Objects([x]),))
    assert list(binarized.traced_parts) == ["conv"]
    assert same(model(Objects([x, x])).items, binarized(Objects([x, x])).items)


def test_copy_has_parts_of_its_own_and_parts_keep_their_class_and_hooks() -> None:
    calls: list[int] = []
    model = Detector()
    model.crops.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    binarized = fxbin.transform(model, CONFIG, IMAGES)
    calls.clear()
    copied = copy.deepcopy(binarized)
    with torch.no_grad():
        copied.get_parameter("backbone.lateral.weight").zero_()
    assert not same(copied.eval()(*IMAGES), binarized.eval()(*IMAGES))
    assert type(binarized.backbone) is Pyramid
    assert len(calls) == 2
    assert isinstance(binarized, Detector)


def test_part_runs_in_its_own_mode() -> None:
    binarized = fxbin.transform(Inside(), CONFIG, (torch.rand(1, 3, 8, 8),)).train()
    part, x = binarized.get_submodule("branch.two"), torch.rand(2, 4, 8, 8)
    assert not torch.equal(part(x), part(x))
    part.eval()
    assert torch.equal(part(x), part(x))


def test_nonfinite_value_is_found_in_a_part() -> None:
    binarized = detector().eval()
    assert fxbin.first_nonfinite(binarized, *IMAGES) is None
    with torch.no_grad():
        binarized.get_parameter("head.score.weight").fill_(torch.nan)
    assert fxbin.first_nonfinite(binarized, *IMAGES) == "the parameter or buffer 'head.score.weight'"


def test_stages_switch_a_detector() -> None:
    params = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2}
    binarized = fxbin.transform(Detector(), config(1, 3, 8, 8, params=params), IMAGES)
    schedule = fxbin.StagedSchedule(binarized, torch.optim.Adam(binarized.parameters(), lr=1e-3))
    stages = []
    for epoch in range(3):
        schedule.start_epoch(epoch)
        torch.stack(list(binarized.train()(*IMAGES, [torch.rand(1, 4)]).values())).sum().backward()
        schedule.step(1.0)
        stages.append(str(schedule.stage))
    assert stages == ["full precision", "activations", "activations and weights"]


def test_detector_of_torchvision_is_what_it_was() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    sizes = detection.anchor_utils.AnchorGenerator(((16,),), ((1.0,),))
    backbone = block(3, 8)
    backbone.out_channels = 8  # type: ignore[assignment]
    limits = {"min_size": 32, "max_size": 48, "score_thresh": 0.99}  # beyond what needs compiled operators
    model = detection.RetinaNet(backbone, 3, anchor_generator=sizes, **limits)
    images = [torch.rand(3, 40, 30), torch.rand(3, 30, 44)]
    targets = [{"boxes": torch.tensor([[2.0, 3, 20, 25]]), "labels": torch.tensor([1])}] * 2
    binarized = fxbin.transform(model, CONFIG, (images[:1],))
    assert all(site.binarized for site in fxbin.summary(binarized).sites)
    assert [island.owner for island in binarized.islands if island.owner in ("", "head")] == ["", "head"]
    assert same(model.eval()(images), binarized.eval()(images))
    results = []
    for either in (model.train(), binarized.train()):
        losses = either(images, copy.deepcopy(targets))
        torch.stack(list(losses.values())).sum().backward()
        results.append((losses, [p.grad for n, p in either.named_parameters() if "_binarizer" not in n]))
    assert same(*results)


def test_parameters_of_two_calls_that_share_a_binarizer_must_agree() -> None:
    binarized = fxbin.transform(Sometimes(), CONFIG, (torch.full((1, 3, 8, 8), 0.25),))
    assert len(binarized.binarization.sites) == 2
    own = binarized.state_dict()
    file = {e.nncf: torch.zeros(1) if e.own is None else own[e.own].clone() for e in entries(binarized)}
    assert not match_keys(binarized, file).wrong
    file["conv.pre_ops.3.op.scale"] += 1
    (problem,) = match_keys(binarized, file).wrong
    assert problem.startswith("conv.pre_ops.3.op.scale: differs from that of another call")


def test_frozen_batch_norm_stays_frozen_around_an_island() -> None:
    model = Detector()
    binarized = fxbin.transform(model, CONFIG, IMAGES)
    for either in (model, binarized):
        either.train()
        freeze_batch_norm(either)
    torch.manual_seed(0)
    expected = model(*IMAGES, [torch.rand(1, 4)])
    torch.manual_seed(0)
    assert same(expected, binarized(*IMAGES, [torch.rand(1, 4)]))
    assert same([*model.buffers()], [b for n, b in binarized.named_buffers() if "_binarizer" not in n])


class FindsPoints(nn.Module):
    """Gives a list with an item for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [torch.nonzero(image[0] > 0) for image in self.conv(x)]


class DescribesPoints(nn.Module):
    """Goes through the list that another module gives, in code that could be traced but for its length."""

    def __init__(self) -> None:
        super().__init__()
        self.find, self.describe = FindsPoints(), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        described = self.describe(x)
        return [described[i][:, p[:, 0], p[:, 1]] for i, p in enumerate(self.find(x))]


def test_list_that_an_island_gives_may_have_another_length_in_each_run() -> None:
    model = DescribesPoints()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.islands) == ([], 2)
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert binarized.islands[0].reason.startswith("find gives a list, whose length is known only")


class Perhaps(nn.Module):
    """Leaves out the second result where the content says so."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x, x * 2 if x.max() > 0.5 else None


class TakesPerhaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.perhaps, self.conv = Perhaps(), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.perhaps(x)
        y: Tensor = self.conv(first if second is None else second)
        return y


def test_containers_that_an_island_gives_are_checked() -> None:
    model = TakesPerhaps()
    binarized = fxbin.transform(model, CONFIG, (torch.zeros(1, 3, 4, 4),))
    ones, zeros = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    assert torch.equal(model(ones), binarized(ones))
    with pytest.raises(
        TraceError, match=r"perhaps gives \(tensor, tensor\), and now it gives \(tensor, None\)"
    ):
        binarized(zeros)


class FollowsGradient(nn.Module):
    """Differentiates in its forward, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.conv(x).square().sum(), x)
        y: Tensor = self.last(x - slope)
        return y


def test_forward_that_differentiates_runs_as_it_is() -> None:
    found = check(Case(FollowsGradient(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites, found.islands) == ([], 2, 1)


class HasAuxiliaryHeads(nn.Module):
    """One head in a part, one called by the code around parts: both in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last, self.head = HasHead(), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.body(x)
        if found[0].sum() > -1e9:
            found.append(self.last(found[0]))
        return [*found, self.head(found[0])] if self.training else found


class HasHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv(x)
        return [y, self.head(y)] if self.training else [y]


def test_heads_that_only_train_stay_in_full_precision_and_the_report_says_so() -> None:
    model = HasAuxiliaryHeads()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites) == ([], 2)
    report = fxbin.summary(fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),)))
    assert [site.owner for site in report.sites if site.train_only] == ["body.head"]
    assert "it runs in train mode only" in str(report)
    assert report.never_ran == ("head",)
    assert "left in full precision, never ran with the example inputs in eval mode: head" in str(report)


class Slices(nn.Module):
    """Calls parts of a row of layers, which are modules that are made in each run."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Any:
        y = self.layers[:2](x)
        return self.layers[2:](y) if y.sum() > -1e9 else y


def test_modules_that_code_makes_are_islands_around_those_that_the_model_holds() -> None:
    found = check(Case(Slices(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites) == ([], 3)


class Discriminator(nn.Module):
    """Its convolutions compute their weights anew from others."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations = torch.nn.utils.parametrizations
        self.first = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
        self.second = parametrizations.orthogonal(nn.Conv2d(4, 4, 1))
        self.last = parametrizations.weight_norm(nn.Conv2d(4, 1, 3))

    def forward(self, x: Tensor) -> Any:
        y = F.leaky_relu(self.second(F.leaky_relu(self.first(x))))
        return self.last(y) if y.sum() > -1e9 else y


def test_parametrized_convolutions_around_an_island_are_binarized() -> None:
    found = check(Case(Discriminator(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites, found.islands) == ([], 3, 1)
