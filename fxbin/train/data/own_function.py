"""Data sets and loaders that a function of the user returns: `data` as ``path/to/file.py:function``.

The function is called with those of these keyword arguments that it has: ``sample_size``, the list
``[1, channels, height, width]`` of the config, or None; ``batch_size`` (over all processes), ``seed``,
``workers`` and ``data_dir`` as the config has them; ``rank`` and ``ranks``. It returns a pair, to train on
and held out, or a dict ``{"train": ..., "held_out": ..., "classes": [names]}``, of which "classes" may be
left out; a data set's own ``classes`` are taken then. Both are of one of these kinds:

* **data sets with positions** (``__getitem__`` and ``__len__``), whose items are a picture and a label.
  A picture is a PIL picture, the path or bytes of a file, or a uint8 tensor ``(channels, height, width)``,
  which are resized, augmented and normalized as the config says; or a floating-point tensor of the size of
  the model's input, which is left as it is. A label is a whole number from 0. fxbin makes the batches,
  divides them among processes, and seeds the random numbers (torch's, numpy's, Python's) of each item.
* **data sets without positions** (``torch.utils.data.IterableDataset`` with ``__len__``) of such items, which
  come in the same order in all processes. What comes after the first ``len(dataset)`` is not used, with a
  note. ``set_epoch(epoch)`` is called before each epoch if there is one.
* **loaders**: ``torch.utils.data.DataLoader``, a list of batches, or anything with ``__iter__`` and
  ``__len__``, but without ``__getitem__``, that yields batches ``(x, labels)``: x inputs of the model,
  floating point ``(n, channels, height, width)``, or uint8, which is normalized; labels ``(n,)``. Order,
  augmentation and workers are those of the loader. Each process gets its part of every batch, unless a loader
  has a ``DistributedSampler``.
"""

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import IterableDataset

from fxbin.binarizers.ranks import rank_count
from fxbin.config import Config
from fxbin.errors import DataError, FxbinError
from fxbin.errors.messages import listed
from fxbin.train.data.indexed import IndexedPictures, names_of
from fxbin.train.data.picture_set import Parts
from fxbin.train.model_spec import accepted
from fxbin.train.processes import own_rank
from fxbin.train.python_file import OF_USERS, described, load_callable, split_spec

EXPECTED = 'expected a pair, to train on and held out, or {"train": ..., "held_out": ..., "classes": [names]}'


@dataclass(frozen=True)
class Own:
    """What a function of the user returned."""

    spec: str
    training: Any
    held_out: Any
    classes: tuple[str, ...] | None


def is_own(spec: str) -> bool:
    """Whether `data` names a function in a file."""
    return split_spec(spec) is not None


def call_function(config: Config) -> Own:
    """What the function that `data` names returns.

    Raises ConfigError if the file or the function does not exist, DataError if it fails, or returns something
    else.
    """
    spec, named = config.data, split_spec(config.data)
    assert named is not None
    path, name = named
    options = {
        "sample_size": list(config.input_info[0].sample_size) if config.input_info else None,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "workers": config.workers,
        "data_dir": config.data_dir,
        "rank": own_rank(),
        "ranks": rank_count(),
    }
    function = load_callable(path, name, spec, "data")
    wanted = accepted(function, options)
    try:
        inspect.signature(function).bind(**wanted)
    except TypeError as error:
        raise DataError(
            f"data: {spec!r} cannot be called: {error}. Its arguments may be {', '.join(options)}, or have "
            "defaults."
        ) from error
    try:
        returned = function(**wanted)
    except FxbinError as error:
        error.add_note(f"raised by data: {spec!r}")
        raise
    except OF_USERS as error:
        raise DataError(f"data: {spec!r} failed: {described(error, path)}") from error
    return _checked(spec, returned)


def _checked(spec: str, returned: Any) -> Own:
    classes = None
    if isinstance(returned, Mapping):
        if not {"train", "held_out"} <= set(returned):
            raise DataError(f"data: {spec!r} returned a dict with {sorted(map(str, returned))}, {EXPECTED}.")
        training, held_out = returned["train"], returned["held_out"]
        classes = returned.get("classes")
    elif isinstance(returned, tuple | list) and len(returned) == 2:
        training, held_out = returned
    else:
        raise DataError(f"data: {spec!r} returned a {type(returned).__name__}, {EXPECTED}.")
    for part, name in ((training, "to train on"), (held_out, "held out")):
        if not _has_length(part):
            raise DataError(
                f"data: {spec!r}: the data {name}, a {type(part).__name__}, has no length: give it "
                "`__len__`, as the learning rate depends on how much of an epoch is done."
            )
        if not len(part):
            raise DataError(f"data: {spec!r}: there are no pictures {name}.")
    named = None if classes is None else tuple(map(str, classes))
    if twice := [repr(name) for name, number in Counter(named).items() if number > 1]:
        raise DataError(
            f"data: {spec!r} returned {listed(twice)} more than once in 'classes': give each class a name of "
            "its own, as other pictures are matched by these names."
        )
    return Own(spec, training, held_out, named)


def _has_length(part: Any) -> bool:
    try:
        len(part)
    except TypeError:
        return False
    return True


def kind_of(part: Any) -> str:
    """``"positions"``, ``"sequence"`` or ``"loader"``: see the module."""
    if isinstance(part, IterableDataset):
        return "sequence"
    is_loader = hasattr(part, "batch_sampler") or not hasattr(part, "__getitem__") or is_list_of_batches(part)
    return "loader" if is_loader else "positions"


def is_list_of_batches(part: Any) -> bool:
    """Whether `part` is a list whose items are not a picture and its label, but many of both."""
    if not isinstance(part, list | tuple) or not isinstance(part[0], list | tuple) or not part[0]:
        return False
    return isinstance(part[0][0], Tensor) and part[0][0].ndim == 4


def class_names(own: Own, config: Config) -> tuple[str, ...]:
    """The names of the classes: those returned, or those that the data set to train on has."""
    dataset = getattr(own.training, "dataset", own.training)
    return own.classes or names_of(dataset, config.num_classes, repr(own.spec))


def indexed_parts(own: Own, config: Config) -> Parts:
    """Data sets with positions as parts."""
    return Parts(
        class_names(own, config),
        IndexedPictures(own.training, own.spec),
        IndexedPictures(own.held_out, f"{own.spec}, held out"),
    )
