"""What the checks before a training look at, each part made when it is first asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.compiler.transform import transform
from fxbin.config import Config
from fxbin.errors import CheckpointError, ConfigError, FxbinError
from fxbin.train.build import fit_to_data, model_of
from fxbin.train.checkpoint import Checkpoint, load_checkpoint
from fxbin.train.data import Data, open_data
from fxbin.train.data.kept import check_same_classes, check_same_held_out, check_same_preprocessing
from fxbin.train.device import choose_device
from fxbin.train.held_out import preprocessed_as_begun
from fxbin.train.located import Located, located
from fxbin.train.processes import own_device
from fxbin.train.resume import check_same_config, check_same_pictures, checkpoint_path
from fxbin.train.teacher import OwnTeacher, own_teacher

T = TypeVar("T")


class Part(Generic[T]):
    """A property that is made once; if that failed, each access raises the same error again."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, subject: None, owner: type) -> "Part[T]": ...
    @overload
    def __get__(self, subject: "Subject", owner: type) -> T: ...
    def __get__(self, subject: "Subject | None", owner: type) -> "Part[T] | T":
        if subject is None:
            return self
        if self._name not in subject.made:
            try:
                subject.made[self._name] = self._make(subject)
            except FxbinError as error:
                subject.made[self._name] = error
        found = subject.made[self._name]
        if isinstance(found, FxbinError):
            raise found
        return found  # type: ignore[no-any-return]  # what `_make` returned


class Subject:
    """A training that is to start: its config, and what follows from that.

    Args:
        config: The config as written.
        output: The output folder.
        restart: Whether a checkpoint there is ignored.
        model: The network, instead of the one that the config names.

    Errors: an access raises the FxbinError that stood in the way of making a part.
    """

    def __init__(
        self,
        config: Config,
        output: Path | None = None,
        *,
        restart: bool = True,
        model: nn.Module | None = None,
    ) -> None:
        self.config = config
        self.output = output
        self.restart = restart
        self.model = model
        self.is_training = False
        """Whether a training starts, which needs a model and data."""
        self.made: dict[str, Any] = {}
        """The parts, or the error instead of one, by name."""

    def forget_networks(self) -> None:
        """Free the memory of the networks that only checks need."""
        self.made.pop("network", None)
        self.made.pop("transformed", None)

    @property
    def has_model(self) -> bool:
        """Whether there is a model to look at. A training must have one."""
        return self.is_training or self.model is not None or self.config.model is not None

    @property
    def names_data(self) -> bool:
        """Whether there are data to look at; a config for a training loop of one's own names none."""
        return self.is_training or "data" in self.config.model_fields_set

    @property
    def has_data(self) -> bool:
        """Whether there are data that fit the config."""
        if not self.names_data:
            return False
        try:
            _ = self.fitted
        except FxbinError:
            return False
        return True

    @property
    def can_be_built(self) -> bool:
        """Whether there is a model, without trained weights."""
        try:
            return self.has_model and isinstance(self.network, nn.Module)
        except FxbinError:
            return False

    @property
    def is_resumed(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        try:
            return self.resumed is not None
        except FxbinError:
            return False

    @property
    def can_be_transformed(self) -> bool:
        """Whether there is a model that the config fits."""
        try:
            return self.has_model and isinstance(self.transformed, BinarizedModule)
        except FxbinError:
            return False

    @Part
    def located(self) -> Located:
        """The config with absolute paths."""
        return located(self.config)

    @Part
    def device(self) -> torch.device:
        """Where this process trains."""
        return own_device(choose_device(self.config.device))

    @Part
    def place(self) -> torch.device:
        """Where the checks run networks: the device, or the CPU if that is not there."""
        try:
            return self.device
        except FxbinError:
            return torch.device("cpu")

    @Part
    def begun(self) -> Checkpoint | None:
        """The checkpoint in the output folder, whether or not the config and the data fit it."""
        if self.output is None or self.restart or not checkpoint_path(self.output).exists():
            return None
        return load_checkpoint(checkpoint_path(self.output), str(self.place))

    @Part
    def data(self) -> Data:
        """The data set, on the device; its pictures become inputs as they did when the run was started."""
        try:
            begun = self.begun
        except CheckpointError:
            begun = None  # which `resumed` is about
        config = self.located.config
        return open_data(config if begun is None else preprocessed_as_begun(config, begun.data)).to(
            self.place
        )

    @Part
    def written(self) -> Config:
        """The config as written, with the image size and the number of classes of the data."""
        return fit_to_data(self.config, self.data)

    @Part
    def fitted(self) -> Config:
        """The config with absolute paths, and the image size and the number of classes of the data."""
        return located(self.written).config

    @Part
    def settings(self) -> Config:
        """The config with absolute paths, and what follows from the data if there are any."""
        return self.fitted if self.has_data else self.located.config

    @Part
    def resumed(self) -> Checkpoint | None:
        """The checkpoint to resume from."""
        resumed = self.begun
        if resumed is not None and self.output is not None:
            check_same_config(resumed, checkpoint_path(self.output), self.written)
            kept = self.data.kept()
            check_same_preprocessing(resumed.data, kept)
            check_same_classes(resumed.data, kept)
            check_same_held_out(resumed.data, kept)
            check_same_pictures(resumed, self.data.training_counts)
        return resumed

    @Part
    def has_readable_held_out(self) -> bool:
        """Whether there are held-out pictures; what is wrong with those that runtimes get is raised."""
        return len(self.data.samples()[1]) > 0

    @Part
    def network(self) -> nn.Module:
        """The network in full precision, without trained weights."""
        if self.model is not None:
            return self.model
        try:
            return model_of(self.settings, pretrained=False).to(self.place)
        except ConfigError:
            if self.names_data:
                _ = self.fitted  # data that cannot be read are the problem: the classes are unknown
            raise

    @Part
    def transformed(self) -> BinarizedModule:
        """The network as it will be binarized."""
        return transform(self.network, self.settings)

    @Part
    def teacher(self) -> OwnTeacher | None:
        """The network to learn from, if the config names one."""
        return own_teacher(self.fitted, self.data, self.resumed)
