"""Keys of `compression`: which call sites are binarized, and how."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from fxbin.config.binarizer_parts import Activations, Parts, Weights, known_mode
from fxbin.config.params import Params
from fxbin.config.value_types import (
    Flag,
    NotNegative,
    NotNull,
    OneOrMore,
    Pattern,
    Section,
    Text,
    problem,
)
from fxbin.errors.messages import closest

Scopes = Annotated[tuple[Pattern, ...] | None, OneOrMore, NotNull]

RewriteName = Literal[
    "quicknet_stem", "downsample_pooling", "shortcuts", "rprelu", "hardtanh", "norm_before_binarize"
]
"""Names in `rewrites`, in the order in which they are carried out, whatever the order in the config."""

INSTEAD_OF = {
    "knowledge_distillation": ' and use the top-level key "distillation", with its `scale` as "weight"',
    "quantization": ", and quantize what stays in full precision after the export",
}
"""The next step for NNCF algorithms that have a counterpart here, as the end of a sentence."""


def _is_misspelt(algorithm: str) -> bool:
    return bool(closest(algorithm, ["binarization"], cutoff=0.8))


class Binarization(Section):
    """The algorithm section: which call sites are binarized, and how."""

    algorithm: Literal["binarization"]
    """The only algorithm that fxbin has."""

    mode: Annotated[Text, AfterValidator(known_mode), Field(examples=["xnor", "dorefa"])] = "xnor"
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

    @model_validator(mode="after")
    def _has_one_rewrite_a_place(self) -> Self:
        """Refuse two rewrites for one place, also the same one twice."""
        for index, name in enumerate(self.rewrites):
            if name in self.rewrites[:index]:
                raise problem("each rewrite once", "Remove the second one.", ("rewrites", index))
        if {"rprelu", "hardtanh"} <= {*self.rewrites}:
            at = ("rewrites", self.rewrites.index("hardtanh"))
            raise problem('no "hardtanh" beside "rprelu"', "Both take the place of the ReLU: keep one.", at)
        return self

    @property
    def activations_mode(self) -> str:
        """The mode of activations."""
        return self.activations.mode or self.mode

    @property
    def weights_mode(self) -> str:
        """The mode of weights."""
        return self.weights.mode or self.mode

    @property
    def parts(self) -> dict[str, Parts]:
        """The sections of parts, by key."""
        return {"activations": self.activations, "weights": self.weights}

    @property
    def changing_parts(self) -> dict[str, str]:
        """Names of the parts that change from epoch to epoch, by key: ``"weights.estimator": "ede"``."""
        return {
            f"{name}.{key}": part if isinstance(part, str) else str(part["name"])
            for name, parts in self.parts.items()
            for key, part in parts.given.items()
            if parts.registries()[key].follows_progress(part)
        }

    @property
    def described(self) -> str:
        """The mode, and the parts that differ from it: ``"xnor; activations: sign; weights: center"``."""
        parts = [f"{name}: {section.described}" for name, section in self.parts.items() if section.described]
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


def exactly_one(algorithms: Any) -> Any:
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
