"""Detectors take lists of images and select by content: outputs are unchanged, and they train in 1 bit."""

import copy
from typing import Any

import pytest
import torch

import fxbin
from fxbin.errors import ExportError
from tests.islands.models import IMAGES, Detector, Pyramid, block, detector
from tests.transform_check import CONFIG, Case, check, same
from tests.transforming import config, freeze_batch_norm


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


def test_stages_switch_a_detector() -> None:
    params = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2}
    binarized = fxbin.transform(Detector(), config(1, 3, 8, 8, params=params), IMAGES)
    optimizer = torch.optim.Adam(binarized.parameters(), lr=1e-3)
    schedule = fxbin.StagedSchedule(binarized, optimizer)
    stages = []
    for epoch in range(3):
        schedule.start_epoch(epoch)
        torch.stack(list(binarized.train()(*IMAGES, [torch.rand(1, 4)]).values())).sum().backward()
        optimizer.step()
        schedule.step(1.0)
        stages.append(str(schedule.stage))
    assert stages == ["full precision", "activations", "activations and weights"]


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


def test_nonfinite_value_is_found_in_a_part() -> None:
    binarized = detector().eval()
    assert fxbin.first_nonfinite(binarized, *IMAGES) is None
    with torch.no_grad():
        binarized.get_parameter("head.score.weight").fill_(torch.nan)
    assert fxbin.first_nonfinite(binarized, *IMAGES) == "the parameter or buffer 'head.score.weight'"


def test_drawing_shows_the_run_that_was_seen() -> None:
    binarized = detector()
    graph = fxbin.to_networkx(binarized)
    kinds = [data["kind"] for _, data in graph.nodes(data=True) if data["op"] == "conv2d"]
    assert kinds.count("binarized_conv2d") == len(binarized.binarization.sites)
    assert "Head[head]" in fxbin.to_dot(binarized).source
    with pytest.raises(ValueError, match="runs as plain Python in train mode"):
        fxbin.to_networkx(binarized, graph="train")


def test_export_of_a_model_that_no_graph_can_hold_names_the_islands(tmp_path: Any) -> None:
    with pytest.raises(
        ExportError, match=r"Detector has code that no graph can hold, in Detector, .*Head\[head\]"
    ):
        fxbin.export_onnx(detector(), tmp_path / "model.onnx", IMAGES)
