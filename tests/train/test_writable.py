"""The output folder is tried before a training."""

import os
import subprocess
from pathlib import Path

import pytest

from fxbin.errors import ConfigError
from fxbin.train.writable import check_writable


def test_a_folder_that_can_be_made_is_not_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=f"in {tmp_path}, there is no permission to write"):
        check_writable(tmp_path / "run")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("options", ["size=16k", "ro"])
def test_a_full_or_read_only_file_system_is_refused(tmp_path: Path, options: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        if options != "ro":
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "filled").write_bytes(bytes(1 << 20))
        reason = "its file system is read-only" if options == "ro" else "no space is left on the device"
        with pytest.raises(
            ConfigError, match=rf"'{tmp_path}/run' cannot be written: in {tmp_path}, {reason}"
        ):
            check_writable(tmp_path / "run")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
