"""The names that `import fxbin` gives, and what it loads."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fxbin
from fxbin.errors import FxbinError

OTHERS = {
    "matplotlib",
    "networkx",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "pydantic",
    "rich",
    "torch",
    "typer",
}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh process has loaded after `code`."""
    show = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", show], text=True).split())


@pytest.mark.parametrize("name", ["StagedSchedule", "StagedAverage"])
def test_arguments_of_classes_that_a_loop_makes_are_described(name: str) -> None:
    own = getattr(fxbin, name)
    described = re.findall(r"^ {4}(\w+): ", str(inspect.getdoc(own)).partition("Args:")[2], re.MULTILINE)
    assert described == [*inspect.signature(own).parameters]


def test_import_loads_nothing_else() -> None:
    loaded = loaded_by("import fxbin")
    assert {name for name in loaded if name.startswith("fxbin")} == {"fxbin"}
    assert not loaded & OTHERS


def test_transform_loads_what_it_needs() -> None:
    loaded = loaded_by("import fxbin; fxbin.transform")
    assert "torch" in loaded
    assert not loaded & {"matplotlib", "networkx", "onnx", "onnxruntime", "openvino", "rich", "typer"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("fxbin.")}
    assert not rooms & {"cli", "drawing", "export", "openvino", "report", "runtimes", "train"}


# Torch, which takes longest to import, is there already; of fxbin nothing is, in each process anew.
USES = """
import os, sys
import torch
import fxbin

for use in sys.argv[1:]:
    if not (child := os.fork()):
        os._exit(0 if callable(eval(use)) else 1)
    print(use, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_one_import_is_enough() -> None:
    uses = (
        "fxbin.openvino.verify",
        "fxbin.transform",
        "fxbin.errors.ScopeError",
        "fxbin.config.load_config",
        "fxbin.binarizers.WeightBinarizer",
    )
    done = subprocess.check_output([sys.executable, "-c", USES, *uses], text=True)
    assert done.splitlines() == [f"{use} 0" for use in uses]


@pytest.mark.parametrize("name", fxbin.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(fxbin, name) is getattr(fxbin, name)
    assert name in dir(fxbin)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(fxbin.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    told = [
        (node.module, alias.asname)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    homes = [(home, name) for home, names in fxbin._HOMES.items() for name in names]
    assert sorted(told) == sorted([*homes, *(("fxbin", room) for room in fxbin._ROOMS)])


def test_all_errors_are_there() -> None:
    errors = [value for value in vars(fxbin.errors).values() if isinstance(value, type)]
    for error in errors:
        if issubclass(error, FxbinError):
            assert getattr(fxbin, error.__name__) is error


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fxbin' has no attribute 'trasform'") as caught:
        fxbin.trasform  # type: ignore[attr-defined]  # noqa: B018
    assert caught.value.obj is fxbin  # of which Python takes the name that was probably meant
