"""Run the notebooks of notebooks/ with the settings that they print, and keep the outputs in them.

    python tools/run_notebooks.py                            # all: `make notebooks`, some minutes each
    python tools/run_notebooks.py notebooks/own_cnn.ipynb

A notebook notes the code that its outputs belong to, so that a test finds outputs of other code.
"""

import ast
import base64
import hashlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

SETTINGS = "parameters"
"""Tag of the one cell with settings: assignments, which `run` replaces by others. Papermill's name for it."""

READING = 4
"""Version of the notebook format."""


def read(path: Path) -> Any:
    """The notebook in the file `path`."""
    return nbformat.read(path, as_version=READING)


def code_of(notebook: Any) -> list[Any]:
    """The cells of `notebook` that have code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: Any) -> str:
    """A number for the code of `notebook`, to compare."""
    code = "\0".join(cell.source for cell in code_of(notebook))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def noted_digest(notebook: Any) -> str | None:
    """The `digest` of the code that made the outputs of `notebook`; None if it has not been run."""
    found: str | None = notebook.metadata.get("fxbin", {}).get("code")
    return found


def run(path: Path, folder: Path, settings: Mapping[str, Any] | None = None, time_limit: int = 3600) -> Any:
    """Run the notebook `path` in `folder`, beside copies of the modules that it imports.

    Returns the notebook with its outputs. `settings` replace those of its cell with settings. Raises
    `nbclient.exceptions.CellExecutionError` if a cell raises an error, and `CellTimeoutError` if one takes
    longer than `time_limit` seconds.
    """
    notebook = read(path)
    for module in path.parent.glob("*.py"):
        shutil.copy(module, folder)
    _set(notebook, settings or {})
    with tempfile.TemporaryDirectory(prefix="fxbin-kernel-") as sockets:
        client = NotebookClient(
            notebook,
            km=_kernel(Path(sockets)),
            timeout=time_limit,
            startup_timeout=300,  # seconds, for a machine that is busy with other tests
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute(cleanup_kc=True, env=_environment(folder))
    return notebook


def _set(notebook: Any, settings: Mapping[str, Any]) -> None:
    """Append `settings` to the cell with settings of `notebook`."""
    (cell,) = [cell for cell in notebook.cells if SETTINGS in cell.metadata.get("tags", ())]
    names = {
        node.id
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    if unknown := settings.keys() - names:
        raise KeyError(f"{', '.join(sorted(unknown))} not in the cell with settings:\n{cell.source}")
    cell.source = "\n".join([cell.source, *(f"{name} = {value!r}" for name, value in settings.items())])


def _kernel(sockets: Path) -> Any:
    """What starts a kernel of this Python, not of one that is installed for the user.

    It talks through files in the folder `sockets` instead of ports, so that nothing listens on the network.
    """
    specs = KernelSpecManager(kernel_dirs=[])
    where = {"transport": "ipc", "ip": str(sockets / "kernel")}
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs, **where)


def _environment(folder: Path) -> dict[str, str]:
    """Environment variables of the kernel: this fxbin, this Python's commands, no settings of the user."""

    def first(place: Path, variable: str) -> str:
        return os.pathsep.join(filter(None, (str(place), os.environ.get(variable))))

    return os.environ | {
        "PYTHONPATH": first(FOLDER.parent, "PYTHONPATH"),
        "PATH": first(Path(sys.executable).parent, "PATH"),
        "IPYTHONDIR": str(folder / ".ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def tidy(notebook: Any, folder: str) -> None:
    """Take from the outputs of `notebook` the name of the `folder` that it ran in, and needless colours."""
    for output in (output for cell in code_of(notebook) for output in cell.outputs):
        if output.output_type == "stream":
            output.text = output.text.replace(f"{folder}/", "")
        elif "image/png" in output.get("data", {}):
            output.data["image/png"] = _smaller(output.data["image/png"])


def _smaller(png: str) -> str:
    """The picture `png`, in base64, with 256 colours: a clone should not grow much by each kept run."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    written = io.BytesIO()
    few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def keep_outputs(path: Path) -> None:
    """Run the notebook `path` as it is printed, and write it with its outputs."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fxbin-notebook-") as folder:
        notebook = run(path, Path(folder))
        tidy(notebook, folder)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "fxbin": {"code": digest(notebook)},
    }
    nbformat.write(notebook, path)
    print(f"{path.name}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    for chosen in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        keep_outputs(chosen)
