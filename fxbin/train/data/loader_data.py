"""Loaders of the user, which make batches themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from fxbin.config import Config
from fxbin.errors import DataError, FxbinError
from fxbin.errors.messages import listed
from fxbin.train.data.interface import Batch, TrainingBatches
from fxbin.train.data.kept import kept_of_held_out
from fxbin.train.data.mixing import with_mixing
from fxbin.train.data.picture_set import names_by_position
from fxbin.train.data.preprocessing import Preprocessing
from fxbin.train.data.reader import NOT_FINITE
from fxbin.train.data.seeds import random_state_kept, seed_globally, seed_of
from fxbin.train.data.worker_data import SAMPLES

HELD_OUT_EPOCH = -1


class LoaderData:
    """See `Data`."""

    def __init__(
        self,
        training: Any,
        held_out: Any,
        class_names: tuple[str, ...],
        config: Config,
        preprocessing: Preprocessing | None,
        device: torch.device | None = None,
    ) -> None:
        self.name = config.data
        self.class_names = class_names
        self.notes: tuple[str, ...] = ()
        self.device = device or torch.device("cpu")
        self.preprocessing = preprocessing
        self.config = config
        self._loaders = (training, held_out)
        self._picture: tuple[int, int, int] | None = None
        self.training_pictures = _pictures(training, config.batch_size)
        self.training_counts: tuple[int, ...] = (self.training_pictures,)
        self.held_out_pictures = _pictures(held_out, config.batch_size)
        if isinstance(_sampler(held_out), DistributedSampler):
            raise DataError(
                f"data: {config.data!r}: the held-out loader has a DistributedSampler, which repeats "
                "pictures: leave it out, as processes divide its batches."
            )

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, height and width of the first held-out batch."""
        if self._picture is None:
            channels, height, width = self.samples(1)[0].shape[1:]
            self._picture = channels, height, width
        return self._picture

    def to(self, device: torch.device) -> "LoaderData":
        """See `Data.to`."""
        return LoaderData(*self._loaders, self.class_names, self.config, self.preprocessing, device)

    def training(self, config: Config, seed: int, rank: int = 0, ranks: int = 1) -> TrainingBatches:
        """See `Data.training`."""
        batches = LoaderBatches(self, self._loaders[0], seed, rank, ranks)
        classes = config.num_classes or len(self.class_names)
        return with_mixing(batches, config.augmentation, classes, seed, rank)

    def held_out(self, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """See `Data.held_out`."""
        for position, batch in enumerate(seeded(self._loaders[1], 0, HELD_OUT_EPOCH)):
            if position % ranks == rank:
                x, labels = self.take(batch)
                if not torch.isfinite(x).all():
                    raise DataError(
                        f"data: batch {position + 1} of the held-out loader of {self.name!r}: {NOT_FINITE}"
                    )
                yield x, labels

    def samples(self, limit: int | None = None) -> Batch:
        """See `Data.samples`; they are the first of the held-out pictures."""
        found: list[Batch] = []
        wanted = limit or SAMPLES
        for batch in self.held_out():
            found.append(batch)
            if sum(len(labels) for _, labels in found) >= wanted:
                break
        x, labels = zip(*found, strict=True)
        return torch.cat(x)[:wanted], torch.cat(labels)[:wanted]

    def epoch_notes(self) -> list[str]:
        """Nothing: loaders see to their pictures."""
        return []

    def kept(self) -> dict[str, Any]:
        """See `Data.kept`."""
        own = self.preprocessing
        held_out = kept_of_held_out(names_by_position(self.held_out_pictures), is_share=False)
        pictures = {} if own is None else {"pictures": own.to_dict()}
        return {"classes": list(self.class_names)} | pictures | held_out

    def take(self, batch: Any) -> Batch:
        """`batch` as inputs on the device, and labels; raises DataError if it is something else."""
        if isinstance(batch, Mapping):
            raise DataError(
                f"data: a loader of {self.name!r} gave a dict with the keys {listed([*map(str, batch)])}, "
                "expected a pair, inputs (n, channels, height, width) and labels (n,): give the loader a "
                "collate_fn that returns them."
            )
        x, labels = batch[:2] if isinstance(batch, tuple | list) and len(batch) >= 2 else (batch, None)
        if (
            not isinstance(x, Tensor)
            or x.ndim != 4
            or not isinstance(labels, Tensor)
            or len(labels) != len(x)
        ):
            got = [
                tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in (x, labels)
            ]
            raise DataError(
                f"data: a loader of {self.name!r} gave {got[0]} and {got[1]}, expected inputs (n, channels, "
                "height, width) and labels (n,)."
            )
        if not labels.is_floating_point():
            labels = labels.flatten()
            least, most = int(labels.min()), int(labels.max())
            if least < 0 or most >= len(self.class_names):
                raise DataError(
                    f"data: a loader of {self.name!r} gave the label {least if least < 0 else most}, "
                    f"expected whole numbers from 0 to {len(self.class_names) - 1}."
                )
            labels = labels.long()
        x, labels = x.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        if x.is_floating_point():
            return x.float(), labels
        if self.preprocessing is None:
            raise DataError(
                f"data: a loader of {self.name!r} gave numbers of {x.dtype}: return floating-point inputs, "
                "or "
                'uint8 and write "pictures": {"mean": [...], "std": [...]}.'
            )
        return self.preprocessing.normalized(x), labels


@dataclass
class LoaderBatches:
    """See `TrainingBatches`. A later start reads and drops what comes before it."""

    data: LoaderData
    loader: Any
    seed: int
    rank: int
    ranks: int

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See `TrainingBatches.epoch`."""
        is_divided = self.ranks == 1 or isinstance(_sampler(self.loader), DistributedSampler)
        for position, batch in enumerate(seeded(self.loader, self.seed, number)):
            if position < start:
                continue
            x, labels = self.data.take(batch)
            if not is_divided:
                if len(labels) < self.ranks:
                    raise DataError(
                        f"data: a batch of {self.data.name!r} has {len(labels)} pictures for {self.ranks} "
                        "processes: make batches larger, or give the loader drop_last=True."
                    )
                x, labels = (part.tensor_split(self.ranks)[self.rank] for part in (x, labels))
            yield x, labels

    def division(self) -> list[int]:
        """See `TrainingBatches.division`: nothing, as each process gets its part of the same batches."""
        return []

    def divided(self, division: list[int]) -> Self:  # noqa: ARG002  (the same for all)
        """See `TrainingBatches.divided`."""
        return self


def seeded(loader: Any, seed: int, epoch: int) -> Iterator[Any]:
    """The batches of `loader`, whose random numbers follow from `seed` and `epoch`; the global ones are kept.

    Samplers with `set_epoch` are told the epoch. Raises DataError if the loader fails.
    """
    for part in (loader, _sampler(loader), getattr(loader, "batch_sampler", None)):
        if part is not None and hasattr(part, "set_epoch"):
            part.set_epoch(max(epoch, 0))
    generator = getattr(loader, "generator", None)
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed_of(seed, epoch))
    position = 0
    iterator: Iterator[Any] | None = None
    while True:
        with random_state_kept():
            seed_globally(seed, epoch, position)
            try:
                iterator = iter(loader) if iterator is None else iterator
                batch = next(iterator, None)
            except FxbinError:
                raise
            # It is code of the user, and of libraries.
            except Exception as error:
                raise DataError(
                    f"data: a loader failed at batch {position + 1}: {type(error).__name__}: {error}"
                ) from error
        if batch is None:
            return
        yield batch
        position += 1


def _sampler(loader: Any) -> Any:
    return getattr(loader, "sampler", None)


def _pictures(loader: Any, batch_size: int) -> int:
    """Number of pictures of a loader; that of full batches if neither it nor its data set tells."""
    if isinstance(loader, list | tuple):
        return sum(len(batch[1]) for batch in loader if isinstance(batch, list | tuple))
    try:
        count: int = len(loader.dataset)
    except (AttributeError, TypeError):
        count = len(loader) * batch_size
    return count
