"""Packages that only some of fxbin needs."""

from importlib.util import find_spec

from fxbin.errors import ExportError


def require(*packages: str, extra: str) -> None:
    """Raise ExportError if one of `packages`, which the `extra` of fxbin installs, is missing."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ExportError(f'{" and ".join(missing)} not found: pip install "fxbin[{extra}]"')
