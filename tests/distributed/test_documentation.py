"""The example of docs/distributed.md runs as it stands, on two processes."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"


def test_example_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
