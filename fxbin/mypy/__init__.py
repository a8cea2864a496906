"""A plugin for mypy that knows the full type of what `fxbin.transform` returns.

    [tool.mypy]
    plugins = ["fxbin.mypy"]

That is a model of the user's class and a `BinarizedModule` at the same time. Python has no way to write such
a type: without the plugin, mypy knows the user's class alone.
"""

# In one file, as mypy checks everything again when the file of a plugin changes, and looks at no other.

from collections.abc import Callable

from mypy.checker import TypeChecker
from mypy.nodes import TypeInfo
from mypy.plugin import FunctionContext, Plugin
from mypy.typeops import make_simplified_union
from mypy.types import Instance, Type, UnionType, get_proper_type


def plugin(_version: str) -> type[Plugin]:
    """The entry point that mypy looks for."""
    return TransformPlugin


class TransformPlugin(Plugin):
    """Refines the type of a call of `fxbin.transform`."""

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """The function that refines the type of a call of `fullname`; None unless that is `transform`."""
        return _with_binarized_module if fullname == "fxbin.compiler.transform.transform" else None


def _with_binarized_module(call: FunctionContext) -> Type:
    """The type that the call returns, as after ``isinstance(model, fxbin.BinarizedModule)``."""
    assert isinstance(call.api, TypeChecker)
    return _both(call.default_return_type, call.api)


def _both(model: Type, checker: TypeChecker) -> Type:
    """The type of an object that is both a `model` and a `BinarizedModule`.

    `model` itself if that is unknown, or if no class can be derived from both.
    """
    model = get_proper_type(model)
    if isinstance(model, UnionType):
        return make_simplified_union([_both(item, checker) for item in model.items])
    if not isinstance(model, Instance):
        return model
    # Not looked up as `fxbin.BinarizedModule`: when mypy checks fxbin itself, the package may come last.
    binarized = checker.modules["fxbin.binarized.module"].names["BinarizedModule"].node
    assert isinstance(binarized, TypeInfo)
    return checker.intersect_instances((model, Instance(binarized, [])), []) or model
