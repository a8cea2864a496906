"""Functions and classes in the user's Python files, as ``path/to/file.py:name`` in a config names them."""

import hashlib
import sys
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from fxbin.errors import ConfigError, FxbinError
from fxbin.errors.messages import closest

CONTENT = "__fxbin_content__"
"""Name in a module of what its file held when it was run."""


OF_USERS = (Exception, SystemExit)
"""What code of users may raise that is not for fxbin: anything but the wish to stop it."""


def split_spec(spec: str) -> tuple[Path, str] | None:
    """File and name in ``path/to/file.py:name``; None if `spec` has another form.

    >>> split_spec("nets/own.py:make")
    (PosixPath('nets/own.py'), 'make')
    >>> split_spec("timm:resnet18")
    """
    file, _, name = spec.rpartition(":")
    return (Path(file), name) if file.endswith(".py") else None


def load_callable(path: Path, name: str, spec: str, key: str = "model") -> Callable[..., Any]:
    """The function or class `name` of the Python file `path`, relative to the current folder.

    The file is run once in a process, and again if its content has changed. The file's folder and the current
    one are appended to Python's search path, so that it can import what is beside it.

    Raises ConfigError, about the config key `key` with the value `spec`, if either does not exist or the
    file cannot be run.
    """
    module = _module_of(path.expanduser(), f"{key}: {spec!r}")
    found = getattr(module, name, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = ", ".join(closest(name, public) or public) or "none"
        raise ConfigError(f"{key}: {spec!r}: {path} has no function or class {name!r} (it has: {close}).")
    function: Callable[..., Any] = found
    return function


def _module_of(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        looked = "" if path.is_absolute() else f" (looked from {Path.cwd()})"
        raise ConfigError(f"{what}: the file {path} does not exist{looked}.")
    path, content = path.resolve(), path.read_bytes()
    # Two files of one name are two modules.
    name = f"_fxbin_model_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, CONTENT, None) == content:
        return known
    return _run(name, path, content, what)


def _run(name: str, path: Path, content: bytes, what: str) -> ModuleType:
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path += [folder for folder in (str(path.parent), str(Path.cwd())) if folder not in sys.path]
    # pickle and dataclasses look up the module of a class there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except FxbinError as error:
        del sys.modules[name]
        error.add_note(f"while {path} was imported, for {what}")
        raise
    except OF_USERS as error:
        del sys.modules[name]
        raise ConfigError(f"{what}: {path} cannot be imported: {described(error, path)}") from error
    setattr(module, CONTENT, content)
    return module


def described(error: BaseException, path: Path) -> str:
    """What was raised by code of the user's file `path`, and by which line of it.

    If that calls a function in another file, the line is the last one in `path` all the same.
    """
    file = str(path.expanduser().resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text}' if text else ''}{f' ({file}:{lines[-1]})' if lines else ''}"
