"""Real NNCF 2.9 checkpoints, read and written without NNCF."""

import importlib
import json
import pickle
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import CheckpointError, TransformError
from fxbin.module import BinarizedModule
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from fxbin.nncf.keys import PRE_OP, entries
from fxbin.nncf.read import read_file
from fxbin.schedule import StagedSchedule
from fxbin.state import Stage
from tests.tiny_resnet import TinyResNet

DATA = Path(__file__).parent / "data"
CASES: dict[str, Any] = importlib.import_module("tests.data.corner_cases").CASES
GOLDENS: dict[str, dict[str, Any]] = json.loads((DATA / "corner_cases.json").read_text())
MODES = ("xnor", "dorefa")


def recorded(mode: str = "xnor") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(DATA / f"nncf_tiny_{mode}_plain.pth", weights_only=True)
    return content


def real_file(mode: str = "xnor") -> Path:
    return DATA / f"nncf_tiny_{mode}.pth"


def new_model(golden: dict[str, Any], **params: Any) -> BinarizedModule:
    section = golden["config"]["compression"]
    config = {
        **golden["config"],
        "compression": {**section, "params": {**section["params"], **params}},
    }
    return fxbin.transform(TinyResNet(), config).eval()


def error_in(model: nn.Module, source: Any, **options: Any) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_nncf_checkpoint(model, source, **options)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_real_checkpoint_gives_the_recorded_outputs_also_after_save_and_load(
    mode: str, tmp_path: Path
) -> None:
    golden = recorded(mode)
    model = new_model(golden)
    report = load_nncf_checkpoint(model, real_file(mode))
    assert "nncf" not in sys.modules
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6
    assert (report.stage, report.epoch, report.next_epoch, report.step) == (Stage.BINARIZED, 2, 3, 17)
    assert report.loaded == len(golden["state_dict"]) - 10  # all but nncf_padding_value
    assert report.missing == report.unexpected == report.notes == ()

    save_nncf_checkpoint(model, tmp_path / "again.pth", step=17)
    again = new_model(golden)
    assert load_nncf_checkpoint(again, tmp_path / "again.pth").next_epoch == 3
    assert (again(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_saved_file_has_nncfs_keys_shapes_dtypes_and_order(mode: str, tmp_path: Path) -> None:
    golden, real = recorded(mode), read_file(real_file(mode))
    model = new_model(golden)
    load_nncf_checkpoint(model, real_file(mode))
    save_nncf_checkpoint(model, tmp_path / "saved.pth", step=17)
    saved = read_file(tmp_path / "saved.pth")
    assert type(saved["state_dict"]) is type(real["state_dict"])
    assert list(saved["state_dict"]) == list(golden["state_dict"])
    for key, value in golden["state_dict"].items():
        assert saved["state_dict"][key].dtype == value.dtype
        assert torch.equal(saved["state_dict"][key], value)
    assert saved["compression_state"] == real["compression_state"]
    assert saved["epoch"] == real["epoch"]


def test_saved_file_names_nncfs_enum_as_nncf_does(tmp_path: Path) -> None:
    def enum_opcodes(path: Path) -> bytes:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            _, found, after = archive.read(name).partition(b"cnncf.api.compression\nCompressionStage\n")
            return found + after[:6].replace(b"q", b"")[:0]

    model = new_model(recorded())
    save_nncf_checkpoint(model, tmp_path / "saved.pth")
    assert enum_opcodes(tmp_path / "saved.pth") == enum_opcodes(real_file()) != b""


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_every_stage_is_restored(epoch: int) -> None:
    golden = recorded()
    snapshot = golden["snapshots"][epoch]
    model = new_model(golden)
    report = load_nncf_checkpoint(model, snapshot["state_dict"])
    assert report.stage == [Stage.FULL_PRECISION, Stage.ACTIVATIONS, Stage.BINARIZED][epoch]
    assert report.epoch is None
    assert (model(golden["input"]) - snapshot["eval_output"]).abs().max() < 1e-6


def test_training_goes_on_where_nncf_stopped() -> None:
    golden = recorded()
    model = new_model(golden, lr_poly_drop_duration_epochs=5)
    report = load_nncf_checkpoint(model, real_file())
    optimizer = torch.optim.Adam(model.parameters())
    assert report.optimizer is not None
    optimizer.load_state_dict(report.optimizer)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].shape == parameter.shape
    schedule = StagedSchedule(model, optimizer)
    assert report.next_epoch is not None
    schedule.start_epoch(report.next_epoch)
    assert schedule.get_last_lr() == pytest.approx([1e-3 * (4 / 5) ** 2.1])
    model.train()
    model(golden["input"]).sum().backward()
    scale = model.get_parameter("layer1.0.conv1.activation_binarizer.scale")
    before = scale.clone()
    optimizer.step()
    assert not torch.equal(scale, before)


def test_source_may_be_what_torch_load_gave() -> None:
    golden = recorded()
    model = new_model(golden)
    report = load_nncf_checkpoint(model, golden)
    assert (report.stage, report.next_epoch) == (Stage.BINARIZED, 3)


def test_compression_state_alone_switches_binarizers_by_its_epoch(tmp_path: Path) -> None:
    golden = recorded()
    state = golden["compression_state"]
    torch.save(state, tmp_path / "state.pth")
    for epoch, stage in ((-1, Stage.FULL_PRECISION), (1, Stage.ACTIVATIONS), (7, Stage.BINARIZED)):
        state["ctrl_state"]["binarization"]["scheduler_state"]["current_epoch"] = epoch
        torch.save(state, tmp_path / "state.pth")
        model = new_model(golden)
        report = load_nncf_checkpoint(model, tmp_path / "state.pth")
        assert (report.stage, report.next_epoch, report.loaded) == (stage, epoch + 1, 0)


def renamed(state: dict[str, Tensor], rule: Any) -> dict[str, Tensor]:
    return {rule(key): value for key, value in state.items()}


def test_operations_may_be_in_any_order() -> None:
    golden = recorded()
    swap = str.maketrans("01", "10")
    state = renamed(
        golden["state_dict"],
        lambda key: (
            f"{m['conv']}.pre_ops.{m['number'].translate(swap)}.op.{m['entry']}"
            if (m := PRE_OP.fullmatch(key))
            else key
        ),
    )
    assert set(state) != set(golden["state_dict"])
    model = new_model(golden)
    load_nncf_checkpoint(model, state)
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


def test_prefixes_of_data_parallel_are_dropped() -> None:
    golden = recorded()
    model = new_model(golden)
    load_nncf_checkpoint(model, renamed(golden["state_dict"], lambda key: f"module.{key}"))
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


def test_module_that_is_named_module_is_found() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Conv2d(3, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.module(x)
            return y

    config = {
        "input_info": {"sample_size": [1, 3, 4, 4]},
        "compression": {"algorithm": "binarization"},
    }
    model = fxbin.transform(Outer(), config)
    state = {entry.nncf: torch.ones(1) for entry in entries(model)}
    state |= {e.nncf: torch.full_like(model.state_dict()[e.own], 1) for e in entries(model) if e.own}
    state["module.0.nncf_padding_value"].zero_()
    for prefix in ("", "module."):
        load_nncf_checkpoint(model, {prefix + key: value for key, value in state.items()})


def test_all_keys_that_do_not_fit_are_listed_and_nothing_is_changed() -> None:
    golden = recorded()
    state = dict(golden["state_dict"])
    del state["bn1.weight"], state["layer1.0.conv1.pre_ops.1.op.scale"]
    state["extra.weight"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(7, 20)
    state["conv1.nncf_padding_value"] = torch.ones(1)
    text = error_in(new_model(golden), state)
    assert text.splitlines() == [
        "checkpoint does not fit TinyResNet:",
        "  fc.weight: is (7, 20), expected (10, 20)",
        "  conv1.nncf_padding_value: is [1.0], but fxbin pads with 0 only",
        "  missing: bn1.weight",
        "  missing: layer1.0.conv1.pre_ops.1.op.scale",
        "  unexpected: extra.weight",
        "  Binarized here and not in the file: layer1.0.conv1. Put them in ignored_scopes.",
    ]


def test_what_is_not_strict_loads_the_rest_and_reports() -> None:
    golden = recorded()
    state = dict(golden["state_dict"])
    del state["bn1.weight"]
    state["extra.weight"] = torch.zeros(1)
    report = load_nncf_checkpoint(new_model(golden), state, strict=False)
    assert (report.missing, report.unexpected) == (("bn1.weight",), ("extra.weight",))
    state["fc.weight"] = torch.zeros(7, 20)
    assert "fc.weight" in error_in(new_model(golden), state, strict=False)


def test_another_selection_is_explained() -> None:
    golden = recorded()
    section = {**golden["config"]["compression"], "ignored_scopes": [r"{re}layer1/.*\[0\]|layer1.*conv2\]"]}
    section["ignored_scopes"] = [r"{re}layer1.*\[conv2\]"]
    model = fxbin.transform(TinyResNet(), {**golden["config"], "compression": section})
    text = error_in(model, golden["state_dict"])
    assert "Binarized here and not in the file: conv1, layer2.0.downsample.0." in text
    assert r"Binarized in the file and not here: layer1.0.conv2 (in ignored_scopes: '{re}layer1" in text


def test_full_precision_checkpoint_is_told_from_a_binarized_one() -> None:
    golden = recorded()
    text = error_in(new_model(golden), golden["initial_state_dict"])
    assert "The file has no binarizers: load a full-precision model before `transform`." in text


def test_only_a_transformed_model_is_loaded_or_saved(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="load_nncf_checkpoint"):
        load_nncf_checkpoint(TinyResNet(), real_file())
    with pytest.raises(TransformError, match="save_nncf_checkpoint"):
        save_nncf_checkpoint(TinyResNet(), tmp_path / "x.pth")


# What the files of NNCF's sample hold beside that, and what others may.


def test_optimizer_that_the_sample_pickles_whole_is_dropped(tmp_path: Path) -> None:
    golden = recorded()
    model = new_model(golden)
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.state = defaultdict(dict, {next(model.parameters()): {"step": torch.ones(())}})
    content = {**golden, "optimizer_scheduler": {"optimizer": optimizer, "base_lr": 1e-3}, "best_acc1": 61.5}
    torch.save(content, tmp_path / "sample.pth")
    report = load_nncf_checkpoint(model, tmp_path / "sample.pth")
    assert report.rest["best_acc1"] == 61.5
    assert not isinstance(report.rest["optimizer_scheduler"]["optimizer"], torch.optim.Optimizer)


class RunsCode:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        function, *arguments = self.call
        return function, tuple(arguments)


FILES = {
    "zip": torch.save,
    "old format": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
}


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((eval, "open('ran', 'w')"), "eval"),
        ((__import__("os").system, "touch ran"), "system"),
        ((__import__("subprocess").check_call, ["touch", "ran"]), "check_call"),
        ((getattr, "x", "upper"), "getattr"),
        ((Path, "ran"), "pathlib"),
    ],
    ids=["eval", "os.system", "subprocess", "getattr", "Path"],
)
def test_pickle_that_runs_code_is_refused_by_name(
    call: tuple[Any, ...], name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    golden = recorded()
    path = tmp_path / "evil.pth"
    FILES[form]({"state_dict": golden["state_dict"], "x": RunsCode(*call)}, path)  # type: ignore[no-untyped-call]
    text = error_in(new_model(golden), path)
    assert not (tmp_path / "ran").exists()
    if form != "pickle":
        assert "refused, as it pickles" in text
        assert name in text


def test_everything_that_is_refused_is_named(tmp_path: Path) -> None:
    content = {"a": RunsCode(eval, "1"), "b": RunsCode(exec, "1"), "c": Path("x")}
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"builtins\.eval, builtins\.exec, pathlib\.PosixPath"):
        read_file(tmp_path / "evil.pth")


def test_stand_ins_are_not_left_allowed() -> None:
    before = set(torch.serialization.get_safe_globals())
    read_file(real_file())
    assert set(torch.serialization.get_safe_globals()) == before


def test_scripted_module_and_damaged_files_are_refused(tmp_path: Path) -> None:
    data = real_file().read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"weights": {}}, tmp_path / "other.pth")
    for name in ("cut", "empty", "text", "list", "other", "absent"):
        with pytest.raises(CheckpointError, match=f"{name}.pth: "):
            load_nncf_checkpoint(new_model(recorded()), tmp_path / f"{name}.pth")


def test_state_of_another_algorithm_is_refused_by_name() -> None:
    golden = recorded()
    golden["compression_state"] = {"ctrl_state": {"quantization": {}}}
    assert "expected an object with \"binarization\", got ['quantization']" in error_in(
        new_model(golden), golden
    )


# Keys of any model, as recorded.


DIFFERENT = {
    # Not copyable, or without a conv2d in the graph: `transform` refuses them.
    "LSTMNet", "ScriptedFunction", "WeightNormOld",
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [k for k, v in GOLDENS.items() if v.get("added_keys") and k not in DIFFERENT]
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:no conv2d is")
def test_keys_and_shapes_that_nncf_adds_are_the_recorded_ones(case: str) -> None:
    original = CASES[case]()
    config = {"compression": {"algorithm": "binarization", "call_sites": "modules"}}
    model = fxbin.transform(original, config, CASES[case].sample_inputs())
    tensors = model.state_dict()
    found = {
        entry.nncf: [1] if entry.own is None else list(tensors[entry.own].shape)
        for entry in entries(model)
        if entry.nncf not in original.state_dict()
    }
    assert list(found.items()) == list(GOLDENS[case]["added_keys"].items())


def test_conv_called_twice_goes_there_and_back(tmp_path: Path) -> None:
    case = CASES["ReusedConv"]
    config = {"compression": {"algorithm": "binarization"}}
    model = fxbin.transform(case(), config, case.sample_inputs())
    for number, site in enumerate(model.binarization.sites.values()):
        site.activation.scale.data.fill_(number)
    save_nncf_checkpoint(model, tmp_path / "twice.pth")
    state = read_file(tmp_path / "twice.pth")["state_dict"]
    assert [state[f"conv.pre_ops.{number}.op.scale"].item() for number in (1, 3)] == [0, 1]
    again = fxbin.transform(case(), config, case.sample_inputs())
    report = load_nncf_checkpoint(again, tmp_path / "twice.pth")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert report.notes[0].startswith("conv: called more than once.")


# What NNCF's form has no place for.


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(self.conv(x), self.conv.weight, groups=2)


def grouped(**section: Any) -> BinarizedModule:
    config = {
        "input_info": {"sample_size": [1, 4, 8, 8]},
        "compression": {"algorithm": "binarization", "call_sites": "modules", **section},
    }
    return fxbin.transform(Grouped(), config)


def test_thresholds_of_grouped_convs_repeat(tmp_path: Path) -> None:
    model = grouped()
    threshold = model.get_parameter("conv.activation_binarizer.threshold")
    threshold.data = torch.tensor([1.0, 2.0, 1.0, 2.0]).reshape(1, 4, 1, 1)
    save_nncf_checkpoint(model, tmp_path / "grouped.pth")
    assert read_file(tmp_path / "grouped.pth")["state_dict"]["conv.pre_ops.1.op.threshold"].shape == (
        1,
        2,
        1,
        1,
    )
    again = grouped()
    load_nncf_checkpoint(again, tmp_path / "grouped.pth")
    assert torch.equal(again.get_parameter("conv.activation_binarizer.threshold"), threshold)


def test_what_nncf_cannot_hold_is_listed_and_no_file_is_written(tmp_path: Path) -> None:
    model = grouped(call_sites="all", params={"weight_scale_axis": "input"})
    model.get_parameter("conv.activation_binarizer.threshold").data[0, 0] = 1
    first, *_ = model.binarization.sites
    model.binarization.enable(activations=True, sites=[first])
    with pytest.raises(CheckpointError) as caught:
        save_nncf_checkpoint(model, tmp_path / "no.pth")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "conv.activation_binarizer.threshold",
        "Grouped/conv2d_0",
        "params.weight_scale_axis 'input'",
        "which binarizers are enabled is no stage of the config",
    ]
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.pth"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_nncf_checkpoint(new_model(recorded()), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("enabled", "epoch"), [((False, False), -1), ((True, False), 1), ((True, True), 2), ((False, True), None)]
)
def test_epoch_is_the_first_of_the_stage(
    enabled: tuple[bool, bool], epoch: int | None, tmp_path: Path
) -> None:
    model = new_model(recorded())
    model.binarization.enable(*enabled)
    if epoch is None:
        with pytest.raises(CheckpointError, match="is no stage of the config: pass `epoch`"):
            save_nncf_checkpoint(model, tmp_path / "x.pth")
        save_nncf_checkpoint(model, tmp_path / "x.pth", epoch=4, extra={"arch": "tiny"})
        assert read_file(tmp_path / "x.pth")["arch"] == "tiny"
    else:
        save_nncf_checkpoint(model, tmp_path / "x.pth")
    content = read_file(tmp_path / "x.pth")
    state = content["compression_state"]["ctrl_state"]["binarization"]["scheduler_state"]
    assert (state["current_epoch"], content["epoch"]) == ((4, 5) if epoch is None else (epoch, epoch + 1))
