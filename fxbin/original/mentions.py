"""Names of attributes and global variables that code mentions."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dis import get_instructions
from functools import lru_cache
from importlib.util import resolve_name
from itertools import chain
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple


class Mentions(NamedTuple):
    """Names that code mentions."""

    names: frozenset[str] = frozenset()
    """All of them: of attributes and globals, and text that could be one (``getattr(config, "scale")``)."""

    optional: frozenset[str] = frozenset()
    """Those that the code may look up where they are missing: ``getattr(config, "scale", 1.0)``."""

    def __or__(self, other: "Mentions") -> "Mentions":
        return Mentions(self.names | other.names, self.optional | other.optional)


def mentions(functions: Iterable[Any]) -> Mentions:
    """What the code of `functions`, which may be properties and the like as well, mentions."""
    names: set[str] = set()
    optional: set[str] = set()
    pending = [
        function.__code__
        for item in functions
        for function in (item, *(getattr(item, part, None) for part in ("fget", "__func__", "func")))
        if isinstance(function, FunctionType)
    ]
    while pending:
        code = pending.pop()
        text = _text_in(code)
        found = {*code.co_names, *text}
        names |= found
        if not _ASKING.isdisjoint(code.co_names):
            optional |= text if "AttributeError" not in code.co_names else found
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return Mentions(frozenset(names), frozenset(optional))


def mentions_of_class(bases: Iterable[type]) -> Mentions:
    """What the methods of the classes `bases` mention that code may call to read an object.

    Without methods that make, write or print one, and those that are generated from a list of fields, as
    they mention all that an object has.
    """
    return mentions(
        method
        for base in bases
        for name, method in vars(base).items()
        if name not in _NOT_READING and not (name in _COMPARING and _is_generated(method))
    )


@lru_cache(maxsize=4096)
def global_names(code: CodeType) -> frozenset[str]:
    """The names that `code`, and code in it, reads or sets in its namespace; not those of attributes.

    Code that asks for the namespace itself may mean any of its names (``globals()["scale"]``,
    ``sys.modules[__name__].scale``).
    """
    names = {str(each.argval) for each in get_instructions(code) if each.opname in _OF_GLOBALS}
    if "__name__" in names or not _NAMESPACE.isdisjoint(code.co_names):
        names |= {*code.co_names, *_text_in(code)}
    return frozenset(names).union(*(global_names(x) for x in code.co_consts if isinstance(x, CodeType)))


def globals_named(function: FunctionType) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where the global variables are that `function` names, also those of its package's modules.

    These are the modules that it names, as a global variable or in an import of its own, and those that it
    names in them (``package.settings.scale``).
    """
    space, names = function.__globals__, mentions([function]).names
    package = package_of(space)
    own = [(space, name) for name in global_names(function.__code__) & space.keys()]
    yield from own
    pending = [*(space[name] for _, name in own), *_imported(function.__code__, space)]
    seen: list[Any] = []
    while pending:
        module = pending.pop()
        if isinstance(module, ModuleType) and module not in seen and package_of(vars(module)) == package:
            seen.append(module)
            found = names & vars(module).keys()
            yield from ((vars(module), name) for name in found)
            pending += [vars(module)[name] for name in found]


def _imported(code: CodeType, space: Mapping[str, Any]) -> Iterator[Any]:
    """What `code`, whose globals are `space`, imports itself, as far as it has been imported."""
    for path in _imports(code):
        is_relative, package = path.startswith("."), space.get("__package__")
        if package or not is_relative:
            yield sys.modules.get(resolve_name(path, package))


@lru_cache(maxsize=4096)
def _imports(code: CodeType) -> frozenset[str]:
    """The modules that `code`, and code in it, imports: ``package.settings``, ``.settings``."""
    instructions = [*get_instructions(code)]
    paths = {
        # Pushed before it: the number of dots, and the names that are taken from the module.
        f"{'.' * instructions[position - 2].argval}{each.argval}"
        for position, each in enumerate(instructions)
        if each.opname == "IMPORT_NAME"
    }
    return frozenset(paths).union(*(_imports(x) for x in code.co_consts if isinstance(x, CodeType)))


def _text_in(code: CodeType) -> set[str]:
    """Text in `code` that could be a name."""
    constants = chain.from_iterable(x if isinstance(x, tuple) else (x,) for x in code.co_consts)
    return {item for item in constants if isinstance(item, str) and item.isidentifier()}


def package_of(space: Mapping[str, Any]) -> str:
    """The top-level package to which a namespace with global variables belongs."""
    return str(space.get("__name__", "")).partition(".")[0]


def _is_generated(method: Any) -> bool:
    return isinstance(method, FunctionType) and method.__code__.co_filename.startswith("<")


_COMPARING = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"})
_NOT_READING = frozenset(
    {"__new__", "__init__", "__post_init__", "__init_subclass__", "__setattr__", "__setitem__", "__delattr__"}
    | {"__delitem__", "__del__", "__repr__", "__str__", "__copy__", "__deepcopy__", "__reduce__"}
    | {"__reduce_ex__", "__getstate__", "__setstate__"}
)
_OF_GLOBALS = frozenset(
    {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL"}
)
_NAMESPACE = frozenset({"globals", "__globals__", "__dict__", "vars", "eval", "exec"})
_ASKING = frozenset({"getattr", "hasattr", "AttributeError", "vars", "__dict__"})
