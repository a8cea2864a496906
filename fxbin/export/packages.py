"""Checks that optional packages are installed."""

from importlib.util import find_spec

from fxbin.errors import ExportError


def require(*packages: str, extra: str) -> None:
    """Raise ExportError if one of `packages`, which belong to the `extra` of fxbin, is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ExportError(f'{" and ".join(missing)} not found: pip install "fxbin[{extra}]"')
