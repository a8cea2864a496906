"""Which models of the zoos represent the others, and their inputs."""

import re
from collections import defaultdict
from collections.abc import Iterable

from tests.other_zoos import ENTRIES

LIBRARIES = ("torchvision", "timm", "pytorchcv", *ENTRIES)

_SIZES = [
    *["test", "atto", "femto", "pico", "nano", "micro", "mini", "xxs", "xxt", "tiny", "xtiny", "t", "xs"],
    *["small", "s", "lite", "light", "m", "medium", "base", "b", "l", "el", "large", "xl", "xxl", "xlarge"],
    *["h", "huge", "so150m", "so400m", "g", "giant", "gigantic", "e", "enormous", "7b"],
]


def representatives(library: str) -> list[str]:
    """All models of most libraries; of timm and pytorchcv the smallest of each family, by their names.

    A family of pytorchcv is a file. In timm's files there are many, told apart by the word that names
    begin with; files with one family give two models.
    """
    if library in ENTRIES:
        return [*ENTRIES[library]]
    families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, home in _homes(library):
        word = re.match("[a-z]*", name)
        families[home][word[0] if word and library == "timm" else ""].append(name)
    chosen: list[str] = []
    for words in families.values():
        count = 2 if library == "timm" and len(words) == 1 else 1
        for names in words.values():
            chosen += names if library == "torchvision" else sorted(names, key=_size)[:count]
    return sorted(chosen)


def _homes(library: str) -> Iterable[tuple[str, str]]:
    """The name of each model and the file that it is written in."""
    if library == "torchvision":
        from torchvision import models

        parts = (models, models.segmentation, models.detection, models.optical_flow)
        return [(name, part.__name__) for part in parts for name in models.list_models(part)]
    if library == "timm":
        from timm import list_models
        from timm.models import _registry

        return [(name, _registry._model_to_module[name]) for name in list_models()]
    from pytorchcv.model_provider import _models

    return [(name, maker.__module__.rpartition(".")[2]) for name, maker in _models.items()]


def _size(name: str) -> tuple[int, list[int], str]:
    """Sorts ``tiny`` before ``base`` and 18 before 50."""
    words = [word for word in re.split(r"[_\d]+", name)[1:] if word in _SIZES]
    # What does not say how large it is passes for small.
    rank = _SIZES.index(words[0]) if words else _SIZES.index("small")
    return rank, [int(number) for number in re.findall(r"\d+", name)], name
