"""Try a built package: install it into an empty environment and run the README's example with it.

    python tools/try_package.py dist/fxbin-0.1.0-py3-none-any.whl dist/fxbin-0.1.0.tar.gz

The environment has the Python that runs this script, and the newest version of each dependency. Each further
file replaces the package in it, so dependencies are installed once. `make package` builds and tries both.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
STAGES = ["0 full precision", "1 activations", "2 activations and weights"]
"""What the example prints at its end."""

VERSIONS = """
import importlib.metadata as metadata, platform
names = ["fxbin", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "pydantic", "typer"]
print("Python", platform.python_version(), *(f"{name} {metadata.version(name)}" for name in names), sep=", ")
"""


def try_package(file: Path, folder: Path, *, first: bool) -> None:
    """Install `file` into the environment in `folder` and run the example in an empty folder."""
    python = folder / "venv/bin/python"
    install: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    print(f"installing {file.name}", flush=True)
    if first:
        subprocess.run([*install, f"fxbin[onnx] @ {file.resolve().as_uri()}", "torchvision"], check=True)
    else:
        subprocess.run([*install, "--force-reinstall", "--no-deps", file.resolve()], check=True)
    work = Path(tempfile.mkdtemp(dir=folder))
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (work / "example.py").write_text(example, encoding="utf-8")
    done = subprocess.run([python, "example.py"], cwd=work, check=True, capture_output=True, text=True)
    if done.stdout.splitlines()[-3:] != STAGES or "16 of 20" not in done.stdout:
        raise SystemExit(f"{file.name}: the example printed something else:\n{done.stdout}{done.stderr}")
    for written in ("resnet18.onnx", "resnet18.pt2"):
        if not (work / written).exists():
            raise SystemExit(f"{file.name}: the example wrote no {written}")
    subprocess.run([folder / "venv/bin/fxbin", "--help"], cwd=work, check=True, capture_output=True)
    subprocess.run([python, "-c", VERSIONS], cwd=work, check=True)
    print(f"{file.name}: the README's example runs", flush=True)


def main(files: list[str]) -> None:
    """Try each of `files`."""
    if not files:
        raise SystemExit(f"expected files of dist/, got none. {__doc__}")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        for index, file in enumerate(files):
            try_package(Path(file), Path(folder), first=index == 0)


if __name__ == "__main__":
    main(sys.argv[1:])
