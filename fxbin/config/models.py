"""The keys of the config: the type, default and meaning of each.

`fxbin.config.load_config` reads a config from a file or a dict and reports all its problems at once.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from fxbin.binarizers.parts import activation_levels, estimators, latent_transforms, weight_levels
from fxbin.binarizers.registry import activation_binarizer_names, weight_binarizer_names
from fxbin.config.data import DataKeys
from fxbin.config.optimization import OptimizationKeys
from fxbin.config.optimizer import has_weight_decay, is_of_nncf
from fxbin.config.part import Part, PartOf
from fxbin.config.pattern import REGEX_MARK, why_invalid
from fxbin.config.preset import preset_names, with_preset
from fxbin.config.training import TrainingKeys
from fxbin.config.unused import UnusedKeys
from fxbin.config.value_types import (
    Count,
    Flag,
    NotNegative,
    NotNull,
    OneOrMore,
    Positive,
    Section,
    Text,
    Whole,
    problem,
)
from fxbin.errors.messages import closest, did_you_mean


def _valid_expression(pattern: str) -> str:
    """Refuse ``{re}`` with an expression that Python cannot compile."""
    if why_invalid(pattern):
        raise problem(r"a regular expression after {re}", f"It {why_invalid(pattern)}")
    return pattern


def _one_of(name: str, names: Sequence[str], own: str = "") -> str:
    """Refuse a `name` that is not one of `names`; `own` says how to add one, or what else may stand there."""
    if name not in names:
        hint = did_you_mean(name, names, spelled=json.dumps)
        raise problem(f"one of {', '.join(names)}", f"{hint} {own}".strip())
    return name


def _known_exclusion(entry: str) -> str:
    """Refuse what is neither a kind of parameter nor ``{re}`` with a valid expression."""
    if REGEX_MARK in entry:
        return _valid_expression(entry)
    return _one_of(entry, WITHOUT_DECAY, "Name other parameters by {re} and a regular expression.")


WithoutDecay = Annotated[tuple[Annotated[Text, AfterValidator(_known_exclusion)], ...], OneOrMore, NotNull]
Scopes = Annotated[tuple[Annotated[Text, AfterValidator(_valid_expression)], ...] | None, OneOrMore, NotNull]

WITHOUT_DECAY = ("norms", "biases", "prelu", "binarizers", "binarized_weights")
"""The kinds of parameters that `wd_exclude` can name."""

INSTEAD_OF = {
    "knowledge_distillation": ' and use the top-level key "distillation", with its `scale` as "weight"',
    "quantization": ", and quantize what stays in full precision after the export",
}
"""The next step for NNCF algorithms that have a counterpart here, as the end of a sentence."""


class InputInfo(Section):
    """One input of the model, for tracing, shapes and export."""

    sample_size: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Shape of the input, batch first: `[1, 3, 224, 224]`."""

    type: Annotated[Literal["float", "long"] | None, NotNull] = None
    """`long` for int64, `float` for float32; without it, the dtype of the model's parameters."""

    filler: Literal["ones", "zeros", "random"] = "ones"
    """What the example input holds; `random` is uniform on [0, 1), or 0 and 1 for `long`."""

    keyword: Annotated[Text | None, NotNull] = None
    """Name of the forward argument; inputs without it are positional, in their order."""


class Params(Section):
    """Stages of training. Epochs count from 0, and a stage has begun if epoch >= start."""

    batch_multiplier: Count = 1
    """Number of batches whose gradients are averaged for one optimizer step."""

    activations_quant_start_epoch: NotNegative = 1
    """First epoch with binarized activations."""

    weights_quant_start_epoch: NotNegative = 1
    """First epoch with binarized weights."""

    lr_schedule: Literal["poly", "cosine", "linear"] = "poly"
    """How the learning rate decays: by (remaining share) ** 2.1 as in NNCF, by a cosine, or linearly."""

    lr_poly_drop_start_epoch: Annotated[NotNegative | None, NotNull] = None
    """Epoch from which the learning rate decays, as `lr_schedule` says; without it, never."""

    lr_poly_drop_duration_epochs: Positive = 30
    """Number of epochs over which the learning rate decays."""

    lr_per_stage: Flag = False
    """Whether the learning rate also decays in each stage before the last, until the next one starts."""

    disable_wd_start_epoch: Annotated[NotNegative | None, NotNull] = None
    """Epoch from which weight decay is 0; without it, never."""

    base_lr: Positive = 1e-3
    """The optimizer's learning rate."""

    base_wd: NotNegative = 1e-5
    """The optimizer's weight decay."""

    wd_exclude: WithoutDecay = ()
    """No weight decay for: `norms`, `biases`, `prelu`, `binarizers`, `binarized_weights`, `{re}` names."""

    binarizer_lr_multiplier: Positive = 1.0
    """Factor on the learning rate of scale and threshold. A factor on gradients has no effect with Adam."""

    batch_norm_batches: Whole = 0
    """Training batches from which BatchNorm statistics are recomputed after each epoch; 0: not at all."""

    progress_epochs: Annotated[Positive | None, NotNull] = None
    """Epochs over which `ede`, `reste` and `clamp_quantiles` change; without it, until the decay ends."""

    weight_scale_axis: Literal["output", "input"] = "output"
    """Mode xnor: one scale per output filter (XNOR-Net, section 3.1), or per input channel."""

    activation_scale_init: Literal["quantile", "mse"] = "quantile"
    """Initial activation scale: NNCF's top 0.1 %, or the two-level value of least squared error."""

    activation_threshold_init: Literal["half", "mse"] = "half"
    """Initial thresholds: half the scale (NNCF), or half of each channel's own `mse` value."""

    activation_init_batches: Count = 1
    """Number of first binarized training batches whose initial scales and thresholds are averaged."""

    @model_validator(mode="after")
    def _decays(self) -> Self:
        """Refuse a decay that never starts."""
        if self.lr_schedule != "poly" and self.lr_poly_drop_start_epoch is None:
            hint = 'Add "lr_poly_drop_start_epoch", which is the start of each kind of decay.'
            raise problem('"poly" without a start of the decay', hint, ("lr_schedule",))
        return self


def _known_mode(mode: str) -> str:
    """Refuse a `mode` that no binarizer is registered for."""
    own = "Add a mode of your own with fxbin.register_weight_binarizer."
    return _one_of(mode, sorted(weight_binarizer_names()), own)


def _known_activation_mode(mode: str) -> str:
    """Refuse a mode that no binarizer is registered for, of activations or of weights."""
    names = sorted({*weight_binarizer_names(), *activation_binarizer_names()})
    return _one_of(mode, names, "Add one of your own with fxbin.register_activation_binarizer.")


RewriteName = Literal["quicknet_stem", "downsample_pooling", "shortcuts", "rprelu", "norm_before_binarize"]
"""Names in `rewrites`, in the order in which they are carried out, whatever the order in the config."""


def _is_misspelt(algorithm: str) -> bool:
    return bool(closest(algorithm, ["binarization"], cutoff=0.8))


class Parts(Section):
    """Base class of the sections that say how activations or weights are binarized."""

    @property
    def described(self) -> str:
        """The parts that are given, by name, such as ``"sign, approx_sign"``; empty without any."""
        given = [getattr(self, name) for name in type(self).model_fields]
        parts = [part for part in given if isinstance(part, str | dict)]
        return ", ".join(part if isinstance(part, str) else str(part["name"]) for part in parts)


class Activations(Parts):
    """How activations are binarized, where that differs from what `mode` says."""

    mode: Annotated[Annotated[Text, AfterValidator(_known_activation_mode)] | None, NotNull] = None
    """A mode, or a name from `register_activation_binarizer`, whose binarizers activations get."""

    levels: Annotated[Part | None, PartOf(activation_levels)] = None
    """The two levels, their thresholds and how these start: `zero_scale` (NNCF), `sign`, `free`."""

    estimator: Annotated[Part | None, PartOf(estimators)] = None
    """What counts as the derivative: `window` (NNCF), `approx_sign`, `swish_sign`, `ede`, `reste`."""


class Weights(Parts):
    """How weights are binarized, where that differs from what `mode` says."""

    mode: Annotated[Annotated[Text, AfterValidator(_known_mode)] | None, NotNull] = None
    """A mode, or a name from `register_weight_binarizer`, whose binarizers weights get."""

    levels: Annotated[Part | None, PartOf(weight_levels)] = None
    """The scale: `filter_mean`, `tensor_mean`, `power_of_two`, `learned`, `one`, `center_distance`."""

    estimator: Annotated[Part | None, PartOf(estimators)] = None
    """What counts as the derivative: `straight_through` (NNCF), `clipped`, `window`, `ede` and others."""

    latent: Annotated[Part | None, PartOf(latent_transforms)] = None
    """What is done before taking the sign: `none` (NNCF), `center`, `standardize`, `clamp_quantiles`."""

    clip: Annotated[Positive | None, NotNull] = None
    """Largest magnitude of latent weights, to which `StagedSchedule` clamps them after each step."""


class Binarization(Section):
    """The algorithm section: which call sites are binarized, and how."""

    algorithm: Literal["binarization"]
    """The only algorithm that fxbin has."""

    mode: Annotated[Text, AfterValidator(_known_mode), Field(examples=["xnor", "dorefa"])] = "xnor"
    """Weight binarizer: `xnor`, `dorefa`, or a name registered by the user."""

    params: Params = Params()
    """Stages and hyperparameters."""

    activations: Activations = Activations()
    """Parts of which the binarizers of activations are composed."""

    weights: Weights = Weights()
    """Parts of which the binarizers of weights are composed."""

    rewrites: Annotated[tuple[RewriteName, ...], OneOrMore, NotNull] = ()
    """Changes to the network around the binarized convolutions: shortcuts, activations, norms."""

    ignored_scopes: Scopes = None
    """Call sites that stay in full precision: names, modules, or `{re}` and a regular expression."""

    target_scopes: Scopes = None
    """If given, the only call sites that are binarized. `ignored_scopes` overrides it."""

    validate_scopes: Flag = True
    """Whether a pattern that matches nothing is an error."""

    call_sites: Literal["all", "modules"] = "all"
    """`all`: conv2d calls with a weight from parameters. `modules`: plain nn.Conv2d in eval mode, as NNCF."""

    compression_lr_multiplier: Annotated[NotNegative | None, NotNull] = None
    """Factor on the gradients of scale and threshold; overrides the top-level one."""

    initializer: Annotated[dict[str, JsonValue] | None, NotNull] = None
    """Accepted and without effect: NNCF never ran it for binarization either."""

    @property
    def described(self) -> str:
        """The mode, and the parts that differ from it: ``"xnor; activations: sign; weights: center"``."""
        sections = {"activations": self.activations, "weights": self.weights}
        parts = [f"{name}: {section.described}" for name, section in sections.items() if section.described]
        return "; ".join([self.mode, *parts])

    @model_validator(mode="before")
    @classmethod
    def _is_binarization(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            algorithm = str(data.get("algorithm", "binarization"))
            # Another algorithm is one problem, as none of its keys would fit here. A misspelt name is left to
            # the field itself, so that the problems of other keys are reported as well.
            if algorithm != "binarization" and not _is_misspelt(algorithm):
                hint = f"fxbin has no other algorithm: remove this one{INSTEAD_OF.get(algorithm, '')}."
                raise problem('"binarization"', hint, ("algorithm",))
        return data


def _exactly_one(algorithms: Any) -> Any:
    """Refuse an empty list, and one with two binarizations."""
    if not isinstance(algorithms, list | tuple):
        return algorithms
    if not algorithms:
        raise problem("an algorithm", 'Add {"algorithm": "binarization", "mode": "xnor"}.')
    ours = [
        index
        for index, algorithm in enumerate(algorithms)
        if isinstance(algorithm, Mapping) and algorithm.get("algorithm") == "binarization"
    ]
    if len(ours) > 1:
        raise problem(
            "no second binarization", f"Merge it into compression[{ours[0]}].", (ours[1], "algorithm")
        )
    return algorithms


def _different_keywords(infos: tuple[InputInfo, ...]) -> tuple[InputInfo, ...]:
    """Refuse two inputs for one forward argument."""
    keywords = [info.keyword for info in infos]
    for index, keyword in enumerate(keywords):
        if keyword is not None and keyword in keywords[:index]:
            raise problem("another name", "Two inputs have this keyword.", (index, "keyword"))
    return infos


def _known_preset(name: str) -> str:
    """Refuse a preset that does not exist."""
    return _one_of(name, preset_names())


class Config(TrainingKeys, OptimizationKeys, DataKeys, UnusedKeys):
    """The options of `transform`, `StagedSchedule` and `fxbin train`; immutable. `load_config` reads one."""

    input_info: Annotated[tuple[InputInfo, ...], OneOrMore, AfterValidator(_different_keywords)] = ()
    """The model's inputs: one object, or a list of them."""

    compression: Annotated[tuple[Binarization, ...], BeforeValidator(_exactly_one), OneOrMore]
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
        return (*notes, *self.scope_notes)

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
