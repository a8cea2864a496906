"""The top level of the config: the type, default and meaning of its keys, and what they need of each other.

`fxbin.config.load_config` reads a config from a file or a dict and reports all its problems at once.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from fxbin.config.binarization import Binarization, Scopes, exactly_one
from fxbin.config.data import DataKeys
from fxbin.config.input_info import InputInfo, different_keywords
from fxbin.config.optimization import OptimizationKeys
from fxbin.config.optimizer import has_weight_decay, is_of_nncf
from fxbin.config.preset import preset_names, replaced_parts, with_preset
from fxbin.config.training import TrainingKeys
from fxbin.config.unused import UnusedKeys
from fxbin.config.value_types import NotNegative, NotNull, OneOrMore, Text, one_of, problem
from fxbin.config.without_effect import notes_without_effect, refuse_keys_without_effect


def _known_preset(name: str) -> str:
    """Refuse a preset that does not exist."""
    return one_of(name, preset_names())


class Config(TrainingKeys, OptimizationKeys, DataKeys, UnusedKeys):
    """The options of `transform`, `StagedSchedule` and `fxbin train`; immutable. `load_config` reads one."""

    input_info: Annotated[tuple[InputInfo, ...], OneOrMore, AfterValidator(different_keywords)] = ()
    """The model's inputs: one object, or a list of them."""

    compression: Annotated[tuple[Binarization, ...], BeforeValidator(exactly_one), OneOrMore]
    """The algorithm: an object, or a list with one object."""

    preset: Annotated[Annotated[Text, AfterValidator(_known_preset)] | None, NotNull] = None
    """Settings of a paper or of this project, which the other keys of the config override."""

    ignored_scopes: Scopes = None
    """As in `compression`; both lists apply."""

    target_scopes: Scopes = None
    """As in `compression`, which it overrides."""

    registered_modules: Annotated[tuple[Text, ...], OneOrMore, NotNull] = ()
    """Names of classes registered with `nncf.torch.register_module`, which scopes call `NNCFUser…`."""

    compression_lr_multiplier: Annotated[NotNegative | None, NotNull] = None
    """Factor on the gradients of scale and threshold, if `compression` has none."""

    target_device: Literal["ANY", "CPU", "GPU", "NPU", "TRIAL", "CPU_SPR"] = "ANY"
    """Where the model will run. Checked, as in NNCF, but without effect: the export runs on all of them."""

    schema_file: Annotated[Text | None, NotNull] = Field(default=None, alias="$schema")
    """For editors: the path of `schema.json`, which lets them complete and check keys."""

    @model_validator(mode="before")
    @classmethod
    def _join_preset(cls, data: Any) -> Any:
        return with_preset(data) if isinstance(data, Mapping) else data

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_keys_without_effect(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        config = handler(data)
        refuse_keys_without_effect(data, config.binarization, config.preset)
        return config

    @model_validator(mode="after")
    def _decays_weights(self) -> Self:
        """Refuse a weight decay that an optimizer does not know."""
        if self.binarization.params.base_wd and not has_weight_decay(self.optimizer):
            hint = 'It has none: write "base_wd": 0 in "compression.params".'
            raise problem("an optimizer with weight decay", hint, ("optimizer",))
        settings = self.pretrain
        chosen = self.optimizer if settings.optimizer is None else settings.optimizer
        if settings.epochs and settings.weight_decay and not has_weight_decay(chosen):
            at = ("optimizer",) if settings.optimizer is None else ("pretrain", "optimizer")
            hint = 'It has none: write "weight_decay": 0 in "pretrain".'
            raise problem("an optimizer with weight decay", hint, at)
        return self

    @model_validator(mode="after")
    def _has_an_average_to_compare(self) -> Self:
        """Refuse to compare epochs by an average that is not kept."""
        if self.best_by == "average_accuracy" and self.ema is None:
            raise problem('"test_accuracy" without an average', 'Add "ema": {"decay": 0.999}.', ("best_by",))
        return self

    @model_validator(mode="after")
    def _can_be_sharded(self) -> Self:
        """Refuse what needs the whole model in each process, beside `parallel` ``"fsdp"``."""
        if self.parallel != "fsdp":
            return self
        teacher = self.distillation.teacher
        refused = {
            "ema": self.ema is not None,
            "compile": self.compile,
            'precision "float16"': self.precision == "float16",
            "compression.weights.clip": self.binarization.weights.clip is not None,
            "distillation.teacher.previous_stage": teacher is not None and teacher.previous_stage,
        }
        found = [key for key, is_given in refused.items() if is_given]
        if found:
            hint = f"Leave out {' and '.join(found)}, which need the whole model in each process."
            raise problem(f'"ddp" beside {found[0]}', hint, ("parallel",))
        return self

    @property
    def binarization(self) -> Binarization:
        """The algorithm in `compression`."""
        return self.compression[0]

    @property
    def lr_multiplier(self) -> float | None:
        """The effective `compression_lr_multiplier`: the one in `compression` overrides the top-level one."""
        own = self.binarization.compression_lr_multiplier
        return self.compression_lr_multiplier if own is None else own

    @cached_property
    def folder(self) -> Path | None:
        """Folder of the file that it was read from, absolute, to which its paths are relative; else None.

        Not a field: the same content from another folder is the same config.
        """
        return None

    def with_folder(self, folder: Path | None) -> Self:
        """This config, read from a file in `folder`."""
        copied = self.model_copy()
        copied.__dict__["folder"] = folder  # as `cached_property` does itself, also for a frozen model
        return copied

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about keys that are accepted here but have no effect, one line each."""
        unused = list(self.unused())
        if is_of_nncf(self.optimizer):
            unused.append("optimizer")
        if self.binarization.initializer is not None:
            unused.append("compression.initializer")
        notes = [f"{key}: accepted for configs written for NNCF, without effect" for key in unused]
        return (*notes, *notes_without_effect(self.binarization), *self.preset_notes, *self.scope_notes)

    @property
    def preset_notes(self) -> tuple[str, ...]:
        """The note about parts of the preset that a mode replaces; `transform` warns about it, too."""
        replaced = replaced_parts(self.preset, self.binarization) if self.preset is not None else []
        if not replaced:
            return ()
        what = f'what "{self.preset}" says about {", ".join(replaced)}'
        return (f"preset: {what} is replaced by the mode that is given",)

    @property
    def scope_notes(self) -> tuple[str, ...]:
        """The notes that concern which call sites are binarized; `transform` warns about them."""
        if self.target_scopes is None or self.binarization.target_scopes is None:
            return ()
        note = (
            "compression.target_scopes: without effect, as the top-level target_scopes overrides it "
            "(as in NNCF): keep one of them"
        )
        return (note,)

    def to_dict(self) -> dict[str, Any]:
        """All keys that have a value, defaults included, as JSON values that `load_config` can read back.

        Keys without effect are included only if they were given, so that the notes about them stay the same.
        """
        not_given = UnusedKeys.model_fields.keys() - self.model_fields_set
        return self.model_dump(mode="json", exclude_none=True, by_alias=True, exclude=not_given)
