from pathlib import Path
from typing import Any

import pytest

from fxbin.config import Config, load_config
from fxbin.errors import CheckpointError
from fxbin.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fxbin.train.resume import check_resumable, check_same_config, plain
from fxbin.train.subject import Subject
from tests.folders import write_folder


def config(params: dict[str, Any] | None = None, **keys: Any) -> Config:
    compression = {"algorithm": "binarization", "params": params or {}}
    if "activations" in keys:
        compression["activations"] = keys.pop("activations")
    return load_config({"model": "resnet_thin", "epochs": 10, "compression": compression} | keys)


def start(path: Path, started_with: Config) -> None:
    save_checkpoint(
        Checkpoint(plain(started_with), "staged", 4, {}, {}, {}, None, {}, []), path / "checkpoint.pt"
    )


def check_resumes(path: Path, now: Config) -> None:
    check_same_config(load_checkpoint(path), path, now)


def test_the_plain_form_reads_back_as_the_same_config() -> None:
    written = config({"base_lr": 0.01}, ignored_scopes="{re}fc")
    assert load_config(plain(written)) == written


def test_no_checkpoint_is_a_new_run(tmp_path: Path) -> None:
    assert Subject(config(), tmp_path, restart=False).begun is None


def test_the_same_settings_written_otherwise_resume(tmp_path: Path) -> None:
    start(tmp_path, config())
    same = config({"base_lr": 1e-3}, seed=0, threads=1, data_dir="/elsewhere", epochs=12)
    check_resumes(tmp_path / "checkpoint.pt", same)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            config({"base_lr": 0.5}),
            r"compression\.params\.base_lr: .* was started with 0\.001, the config now says 0\.5\. ",
        ),
        (config(seed=1, batch_size=3), r"batch_size: .* 64, .* 3 \(1 more keys differ\)"),
        (config(ignored_scopes="{re}fc"), r"ignored_scopes: .* was started with 'nothing', the config now"),
        (config(epochs=3), r"epochs: .* was started with 10, the config now says 3"),
    ],
)
def test_a_change_of_what_is_computed_is_refused_by_name(
    tmp_path: Path, changed: Config, message: str
) -> None:
    start(tmp_path, config())
    with pytest.raises(CheckpointError, match=message + r".*--restart"):
        check_resumes(tmp_path / "checkpoint.pt", changed)


def test_a_key_that_came_with_a_newer_version_has_its_default(tmp_path: Path) -> None:
    older = Checkpoint(plain(config()), "staged", 4, {}, {}, {}, None, {}, [])
    del older.config["compression"][0]["params"]["activation_init_batches"]
    save_checkpoint(older, tmp_path / "checkpoint.pt")
    check_resumes(tmp_path / "checkpoint.pt", config())
    with pytest.raises(CheckpointError, match=r"activation_init_batches: .* was started with 1, .* says 2"):
        check_resumes(tmp_path / "checkpoint.pt", config({"activation_init_batches": 2}))


def test_the_schedule_of_the_stages_may_change_until_they_begin(tmp_path: Path) -> None:
    before = config(activations={"estimator": "ede"})
    path = tmp_path / "checkpoint.pt"
    for params in ({"progress_epochs": 5}, {"lr_poly_drop_start_epoch": 1, "lr_schedule": "linear"}):
        after = config(params, activations={"estimator": "ede"})
        save_checkpoint(Checkpoint(plain(before), "pretraining", 4, {}, {}, {}, None, {}, []), path)
        check_resumes(path, after)
        save_checkpoint(Checkpoint(plain(before), "staged", 4, {}, {}, {}, None, {}, []), path)
        with pytest.raises(CheckpointError, match=r"compression\.params\.(progress|lr_poly).* 'nothing'"):
            check_resumes(path, after)


def test_resume_where_nothing_is_to_be_resumed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"--resume: there is no checkpoint in .*--output"):
        check_resumable(tmp_path)
    start(tmp_path, config())
    check_resumable(tmp_path)


def test_a_run_goes_on_with_the_mean_and_deviation_that_it_began_with(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    write_folder(tmp_path / "train", pictures=2)
    write_folder(tmp_path / "val", pictures=1)
    size = {"input_info": {"sample_size": [1, 3, 8, 8]}}
    settings = config(data=f"folder:{tmp_path}", device="cpu", workers=0, **size)
    before = Subject(settings).data.kept()
    assert before is not None
    begun = Checkpoint({}, "staged", 4, {}, {}, {}, None, {}, [], data=before)
    save_checkpoint(begun, tmp_path / "checkpoint.pt")
    for file in (tmp_path / "train/class_0").iterdir():
        file.unlink()  # the others are brighter
    write_folder(tmp_path / "more", pictures=3, seed=5)
    for file in (tmp_path / "more/class_2").iterdir():
        file.rename(tmp_path / "train/class_0" / file.name)
    new = Subject(settings, tmp_path, restart=True).data.kept()
    assert new is not None
    assert new["pictures"] != before["pictures"]
    assert Subject(settings, tmp_path, restart=False).data.kept() == before
