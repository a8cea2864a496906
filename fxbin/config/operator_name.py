"""What the hierarchical name of an operator says about modules, in PyTorch's terms."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import accumulate

# A class, then in brackets the attribute of its parent, which may contain any character but a dot.
_ELEMENT = re.compile(r"[^/\[]+(?:\[.*?\])?(?=/|$)")

_OPERATOR = re.compile(r"\w+[_#]\d+")
"""An operator with its counter: ``conv2d_0``; after ``#`` if NNCF does not see it."""


def scope_elements(scope: str) -> tuple[str, ...]:
    """Split a scope into its elements, each a class with the attribute that holds it.

    >>> scope_elements("ResNet/ModuleDict[a/b]/Conv2d[0]")
    ('ResNet', 'ModuleDict[a/b]', 'Conv2d[0]')
    """
    elements = tuple(_ELEMENT.findall(scope))
    # A scope that cannot be split cleanly is kept as one element.
    return elements if "/".join(elements) == scope else (scope,)


def module_path(name: str) -> str | None:
    """PyTorch's name of the module in which the operator `name` runs, by the attributes in its scope.

    Empty for the model itself; None if `name` has no scope, or a module in it is held by no attribute.

    >>> module_path("ResNet/Sequential[layer1]/BasicBlock[0]/NNCFConv2d[conv1]/conv2d_0")
    'layer1.0.conv1'
    """
    scope, _, _ = name.rpartition("/")
    if not scope:
        return None
    elements = scope_elements(scope)[1:]
    if not all(element.endswith("]") for element in elements):
        return None
    return ".".join(element.partition("[")[2][:-1] for element in elements)


def is_in_module(name: str, entry: str) -> bool:
    """Whether `entry` is PyTorch's name of a module in which the operator `name` runs, or of that operator.

    >>> name = "ResNet/Sequential[layer1]/BasicBlock[0]/NNCFConv2d[conv1]/conv2d_0"
    >>> [is_in_module(name, entry) for entry in ("layer1.0.conv1", "layer1", "layer1.0.conv1/conv2d_0")]
    [True, True, True]
    >>> [is_in_module(name, entry) for entry in ("conv1", "layer1.0.conv", "layer1.0/conv2d_0")]
    [False, False, False]
    """
    path = module_path(name)
    if not path or not entry:
        return False
    if path == entry or path.startswith(f"{entry}."):
        return True
    module, _, operator = entry.rpartition("/")
    is_operator = path == module and operator == name.rpartition("/")[2]
    return is_operator and _OPERATOR.fullmatch(operator) is not None


def short_names(names: Collection[str]) -> dict[str, str]:
    """The shortest entry of `ignored_scopes` that selects each of `names`, and no other one of them.

    PyTorch's name of its module; with the operator, if the module runs several of `names`. The name itself
    for an operator of the model's own forward, or where PyTorch has no name for the module.

    >>> short_names(["Net/Conv2d[a]/conv2d_0", "Net/Conv2d[b]/conv2d_0", "Net/Conv2d[b]/conv2d_1"]).values()
    dict_values(['a', 'b/conv2d_0', 'b/conv2d_1'])
    """
    paths = {name: module_path(name) for name in names}
    # A module and each module around it: what an entry with that name selects.
    around = Counter(prefix for path in paths.values() if path for prefix in with_containers(path))
    found = {}
    for name, path in paths.items():
        operator = name.rpartition("/")[2]
        found[name] = name if not path else path if around[path] == 1 else f"{path}/{operator}"
    return found


def with_containers(path: str) -> Iterator[str]:
    """The names of the modules around the module `path`, from the outermost, and its own.

    >>> list(with_containers("layer1.0.conv1"))
    ['layer1', 'layer1.0', 'layer1.0.conv1']
    """
    return accumulate(path.split("."), "{}.{}".format)
