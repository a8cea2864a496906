"""The engine, where there is a compiler to build it."""

import pytest

from fxbin.engine.compiler import find_compiler
from fxbin.engine.library import Engine, engine


@pytest.fixture(scope="session")
def built() -> Engine:
    """The engine; skips where no compiler is."""
    if find_compiler() is None:
        pytest.skip("no C compiler")
    found = engine()
    assert found is not None
    return found
