"""Files are read without running what they pickle."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.errors import CheckpointError
from fxbin.nncf import load_nncf_checkpoint
from fxbin.nncf.read import read_file
from tests.nncf.checkpoints import error_in, new_model, real_file, recorded


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
        assert "refused, because it pickles" in text
        assert name in text


def test_everything_that_is_refused_is_named(tmp_path: Path) -> None:
    content = {"a": RunsCode(eval, "1"), "b": RunsCode(exec, "1"), "c": Path("x")}
    torch.save(content, tmp_path / "evil.pth")
    path = type(content["c"]).__module__  # pathlib, in Python 3.13 pathlib._local
    with pytest.raises(CheckpointError, match=rf"builtins\.eval, builtins\.exec, {path}\.PosixPath"):
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


def test_a_truncated_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"a\.pth: is not a file .*, or is damaged \([^.]+\)$"):
        read_file(tmp_path / "a.pth")
