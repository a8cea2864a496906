"""Names that a transformed model needs for itself, and that the original must therefore not have."""

from collections.abc import Iterable, Iterator

from torch import fx, nn

from fxbin.binarizers import IGNORED_BY_DDP
from fxbin.errors import TransformError


def check_names(root: nn.Module, kind: type[fx.GraphModule], own: Iterable[str]) -> None:
    """Raise TransformError if an attribute of `root` would be hidden by one of its transformed model.

    That one is going to be of class `kind` and to have attributes `own`.
    """
    if isinstance(root, fx.GraphModule):
        common = {*dir(fx.GraphModule), *vars(root)}  # which the new one has anew
    else:
        common = {*dir(nn.Module), *vars(nn.Module())}
    reserved = {*_class_names(kind), *own} - common - {IGNORED_BY_DDP}  # what a user has put there is kept
    names = {*_class_names(type(root)), *vars(root), *root._parameters, *root._buffers, *root._modules}
    for name in sorted(names & reserved):
        raise TransformError(
            f"{type(root).__name__}.{name}: a transformed model keeps something of its own under that name; "
            "rename the attribute, or transform nn.Sequential(model), which leaves it where it is"
        )


def _class_names(kind: type) -> Iterator[str]:
    return (name for base in kind.__mro__ for name in vars(base) if not name.startswith("__"))
