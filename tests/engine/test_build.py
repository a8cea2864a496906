"""How the engine gets built: compilers, the cache, several processes, and what is said where it cannot be."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from fxbin.engine import compiler as compilers
from fxbin.engine.build import SOURCES, built_library, cache_folder, key
from fxbin.engine.compiler import Compiler, find_compilers
from fxbin.engine.library import ABI_VERSION, Engine, engine, engine_or_why_not, training_engine
from fxbin.engine.native import run_natively
from fxbin.errors import EngineError
from tests.engine.cases import random_cases
from tests.quick_compiler import WARNINGS, quick_compiler

needs_compiler = pytest.mark.skipif(not find_compilers(), reason="no C compiler")

LOADS = "from fxbin.engine.build import built_library; print(built_library())"


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all compilers."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compilers, "find_spec", lambda _name: None)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiler for all tests of this file, so that they have one cache."""
    return quick_compiler(tmp_path_factory.mktemp("compiler"))


@pytest.fixture(scope="module")
def built_twice(quick: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Exit codes and outputs of two processes that build the library at the same time."""
    environment = os.environ | {"CC": quick, "FXBIN_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    processes = [
        subprocess.Popen([sys.executable, "-c", LOADS], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    printed = [process.communicate()[0].strip() for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


@pytest.fixture
def cached(
    quick: str, built_twice: list[tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The library in a cache of its own."""
    shutil.copytree(Path(built_twice[0][1]).parent, tmp_path / "cache")
    monkeypatch.setenv("CC", quick)
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / Path(built_twice[0][1]).name


@needs_compiler
def test_the_library_is_built_once(built_twice: list[tuple[int, str]], cached: Path) -> None:
    assert [code for code, _ in built_twice] == [0, 0]
    assert len({path for _, path in built_twice}) == 1
    path = cached
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".lock", ".so"]
    made = path.stat().st_mtime_ns
    assert built_library() == path
    assert path.stat().st_mtime_ns == made
    assert "portable" in Engine(path).kernels


@needs_compiler
@pytest.mark.parametrize("size", [0, 5000])
def test_a_library_that_was_cut_off_is_built_again(cached: Path, size: int) -> None:
    cached.write_bytes(cached.read_bytes()[:size])
    # In a process of its own, which loading a part of a library may end.
    found = subprocess.run([sys.executable, "-c", LOADS], stdout=subprocess.PIPE, text=True, check=True)
    assert "portable" in Engine(Path(found.stdout.strip())).kernels


@needs_compiler
def test_a_cache_that_can_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / built_library().name).write_bytes(built_library().read_bytes())
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        "fxbin.engine.build.cache_folder", lambda: pytest.fail("asks for a folder to write to")
    )
    assert built_library().parent == tmp_path


@needs_compiler
def test_a_change_of_what_goes_in_is_another_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = find_compilers()[0]
    first = key(found)
    assert key(found) == first
    monkeypatch.setattr("fxbin.engine.build.FLAGS", ("-O0",))
    assert key(found) != first
    monkeypatch.undo()
    for source in SOURCES.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr("fxbin.engine.build.SOURCES", tmp_path)
    assert key(found) == first
    with (tmp_path / "epilogue.c").open("a") as file:
        file.write("\n")
    assert key(found) != first


def test_cc_is_the_first_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "zig cc -target x86_64-linux-gnu")
    assert find_compilers() == [Compiler(("zig", "cc", "-target", "x86_64-linux-gnu"))]


def test_ziglang_is_the_last_choice(no_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "find_spec", lambda _name: object())
    assert find_compilers() == [Compiler((sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"))]


def test_without_a_compiler_is_an_error_that_says_how_to_get_one(no_compiler: None) -> None:
    with pytest.raises(
        EngineError, match=r"no C compiler was found: install one .* or pip install .fxbin.compiler"
    ):
        built_library()


def test_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(EngineError, match="the C compiler '/nowhere/cc' does not start"):
        built_library()


@needs_compiler
def test_a_folder_in_the_place_of_the_library(cached: Path) -> None:
    cached.unlink()
    cached.mkdir()
    with pytest.raises(
        EngineError, match=r"the engine cannot be written to '.*\.so': Is a directory; remove"
    ):
        built_library()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "cc"
    script.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exit\necho 'a note' >&2\necho 'error: no' >&2\nexit 1\n"
    )
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match=r"the C compiler '.*/cc' failed: error: no"):
        built_library()
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


@needs_compiler
def test_the_next_compiler_is_tried(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cc, *_) = find_compilers()
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cc").chmod(0o700)
    found = [Compiler((str(tmp_path / "cc"),)), cc]
    monkeypatch.setattr("fxbin.engine.build.find_compilers", lambda: found)
    assert built_library() == cached
    found.pop()
    with pytest.raises(EngineError, match=r"the C compiler '.*/cc' failed: it ended with exit code 1"):
        built_library()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "failed: it wrote no file"),
        ("exit 3", "failed: it ended with exit code 3"),
        (r"printf '\377 error' >&2; printf '\377'; exit 1", "failed: \ufffd error"),
    ],
)
def test_compilers_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    command = tmp_path / "cc"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o700)
    monkeypatch.setenv("CC", str(command))
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match=message):
        built_library()


def test_cc_must_be_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '-O2")
    with pytest.raises(
        EngineError, match=r"CC: expected a command as in a shell, got .*: No closing quotation"
    ):
        built_library()


def test_a_cache_that_cannot_be_written_to_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FXBIN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="FXBIN_CACHE_DIR: expected a folder that can be written to"):
        cache_folder()


def test_without_a_home_the_cache_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("FXBIN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", raise_no_home)
    assert cache_folder().parent == tmp_path


def raise_no_home() -> Path:
    """As `Path.home` where the user has no entry in the system's list."""
    raise RuntimeError("Could not determine home directory.")


def test_a_temporary_cache_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    environment.pop("FXBIN_CACHE_DIR", None)
    code = "from fxbin.engine.build import cache_folder; print(cache_folder())"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert Path(found.stdout.strip()).parent == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def forget_the_engine() -> None:
    """Let the next call look for compilers again."""
    for found in (engine, engine_or_why_not, training_engine):
        found.cache_clear()


def test_without_the_engine_there_is_one_warning_and_the_same_numbers(no_compiler: None) -> None:
    forget_the_engine()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for case in random_cases(3, seed=0):
                assert torch.equal(case.run().double(), case.expected())
        (warning,) = caught
        assert "fxbin's 1-bit engine is not available: no C compiler was found" in str(warning.message)
        assert "in float" in str(warning.message)
        with pytest.raises(EngineError, match="kernel_name: got 'portable', which the engine runs on a CPU"):
            case.run("portable")
    finally:
        forget_the_engine()


def test_importing_builds_nothing(tmp_path: Path) -> None:
    code = "import fxbin.engine.operators, fxbin.deployment, torch; torch.ops.fxbin.binary_conv2d"
    environment = os.environ | {"FXBIN_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not (tmp_path / "cache").exists()


@needs_compiler
def test_it_builds_for_a_cpu_without_kernels_of_its_own(tmp_path: Path) -> None:
    command = (quick_compiler(tmp_path), "-DFXBIN_PORTABLE", *WARNINGS)
    assert Compiler(command).build(sorted(SOURCES.glob("*.c")), tmp_path / "engine.so") == ""
    portable = Engine(tmp_path / "engine.so")
    assert portable.kernels == ("portable",)
    for case in random_cases(3, seed=0):
        (y,) = run_natively(portable, case.checked())
        assert torch.equal(y.double(), case.expected())


def test_versions_of_the_interface_agree() -> None:
    header = (SOURCES / "fxbin_engine.h").read_text()
    assert f"#define FXBIN_ABI_VERSION {ABI_VERSION}\n" in header
