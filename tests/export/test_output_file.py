"""Output files: found before the work that one cannot be written, and replaced as a whole."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxbin.atomic_write import replace_file
from fxbin.errors import ExportError
from fxbin.export.output_file import check_writable_file, explained_writing


def refused(path: Path) -> str:
    with pytest.raises(ExportError) as raised:
        check_writable_file(path, "--output")
    return str(raised.value)


def test_what_cannot_be_written_is_found_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    assert "--output: '" in refused(tmp_path / "folder.html")
    assert "folder.html' is a folder; give the name of a file" in refused(tmp_path / "folder.html")
    assert f"cannot be written: {tmp_path}/file is not a folder" in refused(tmp_path / "file" / "y.html")
    assert "cannot be written: File name too long" in refused(tmp_path / ("x" * 300 + ".html"))
    check_writable_file(tmp_path / "new" / "page.html", "--output")
    check_writable_file(tmp_path / "file", "--output")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file", tmp_path / "folder.html"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_file_system_without_files_of_ones_own_is_refused() -> None:
    assert "cannot be written: in /proc, no file can be made. Choose" in refused(Path("/proc/x.html"))


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "page.html"
    old.write_text("old")
    old.chmod(0o444)
    tmp_path.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:  # whom permissions do not stop
        os.seteuid(65534)
    try:
        message = refused(old)
    finally:
        if is_root:
            os.seteuid(0)
    assert "cannot be written: Permission denied" in message


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow above a few bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with (
        pytest.raises(ExportError, match=r"--output: '.*page.html' cannot be written: File too large\. What"),
        explained_writing(path, "--output"),
    ):
        replace_file(path, "x" * 2000)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "full.html"
    link.symlink_to("/dev/full")
    check_writable_file(link, "--output")
    with pytest.raises(OSError, match="No space left"):
        replace_file(link, "text")
    assert Path("/dev/full").is_char_device()


def test_an_error_that_is_not_of_writing_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), explained_writing(tmp_path, "--output"):
        raise RuntimeError("shapes")
    with pytest.raises(ExportError, match=r"^known$"), explained_writing(tmp_path, "--output"):
        raise ExportError("known")
