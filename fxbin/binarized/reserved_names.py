"""Names that a transformed model needs for its own attributes, which the original must not use."""

from collections.abc import Iterable, Iterator

from torch import fx, nn

from fxbin.binarizers import IGNORED_BY_DDP
from fxbin.errors import TransformError


def check_names(root: nn.Module, kind: type[fx.GraphModule], own: Iterable[str]) -> None:
    """Raise TransformError if the transformed model would hide an attribute of `root`.

    It will be of a class derived from `kind`, with the attributes `own`.
    """
    if isinstance(root, fx.GraphModule):
        common = {*dir(fx.GraphModule), *vars(root)}  # the transformed model sets them again
    else:
        common = {*dir(nn.Module), *vars(nn.Module())}
    reserved = {*_class_names(kind), *own} - common - {IGNORED_BY_DDP}  # a user's value is kept
    for name in sorted(reserved.intersection(nn.Module.__dir__(root))):
        raise TransformError(
            f"{type(root).__name__}.{name}: a transformed model needs that name for itself; "
            "rename the attribute, or transform nn.Sequential(model), which leaves it where it is"
        )


def _class_names(kind: type) -> Iterator[str]:
    return (name for base in kind.__mro__ for name in vars(base) if not name.startswith("__"))
