"""The pages of the API reference: which public names each shows, and their text for mkdocstrings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiPage:
    """One page of the API reference."""

    title: str
    """What the page is about."""

    text: str
    """What stands before the names, in Markdown."""

    names: tuple[str, ...]
    """Full names, in the order of the page: ``"fxbin.transform"``."""

    def markdown(self) -> str:
        """The page, with one directive of mkdocstrings for each name."""
        return "\n\n".join([f"# {self.title}", self.text, *(_directive(name) for name in self.names)]) + "\n"


def _names(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


MEMBERS = {
    "fxbin.Config": ("binarization", "lr_multiplier", "notes", "scope_notes", "to_dict"),
    **dict.fromkeys(_names("fxbin.config", "Binarization Params Activations Weights InputInfo"), ()),
}
"""What is shown of classes whose fields are keys of a config, which the config reference has."""


def _directive(name: str) -> str:
    if name not in MEMBERS:
        return f"::: {name}"
    shown = "false" if not MEMBERS[name] else f"[{', '.join(MEMBERS[name])}]"
    return f"::: {name}\n    options:\n      members: {shown}"


PAGES = {
    "transform": ApiPage(
        "Transform",
        "From a model to one whose convolutions can be switched to 1 bit.",
        _names("fxbin", "transform BinarizedModule BinarizationState Stage node_names"),
    ),
    "config": ApiPage(
        "Config",
        "The keys are described in the [config reference](../config.md).",
        (
            *_names("fxbin", "load_config Config"),
            *_names(
                "fxbin.config",
                "Binarization Params Activations Weights InputInfo Problem check_config config_json_schema "
                "config_json_schema_text config_tables",
            ),
        ),
    ),
    "training": ApiPage(
        "Training",
        "Stages, averages and BatchNorm statistics in your own training loop, and callbacks for Lightning.",
        (
            *_names("fxbin", "StagedSchedule StagedAverage parameter_groups reestimate_batch_norm"),
            *_names("fxbin.lightning", "StagedBinarization FinalCheckpoint"),
        ),
    ),
    "inspection": ApiPage(
        "Inspection",
        "What was binarized, and what happens inside a model.",
        _names(
            "fxbin",
            "summary Summary write_report to_dot to_networkx Diagnostics DiagnosticsReport first_nonfinite",
        ),
    ),
    "deployment": ApiPage(
        "Deployment",
        "Files and modules that run in 1 bit, and comparisons of runtimes.",
        _names(
            "fxbin",
            "export_onnx ExportMode ExportReport export_program deploy DeployedModule register_custom_ops "
            "compare_runtimes RuntimeReport benchmark BenchmarkReport",
        ),
    ),
    "openvino": ApiPage(
        "OpenVINO",
        "`fxbin.openvino` compiles, saves and verifies an exported file.",
        _names(
            "fxbin.openvino",
            "compile save SavedModel verify VerifyReport LayerCheck OutputCheck OpenVINOError",
        ),
    ),
    "binarizers": ApiPage(
        "Binarizers",
        "Base classes and registries for binarizers of your own: see [binarizers](../binarizers.md).",
        (
            *_names(
                "fxbin",
                "Binarizer ActivationBinarizer ActivationLevels ZeroScale Levels WeightBinarizer "
                "XNORWeightBinarizer DoReFaWeightBinarizer ComposedWeightBinarizer WeightLevels "
                "LatentTransform Estimator register_activation_binarizer register_activation_levels "
                "register_weight_binarizer register_weight_levels register_estimator "
                "register_latent_transform",
            ),
            *_names(
                "fxbin.binarizers",
                "activation_binarizer_names weight_binarizer_names make_activation_binarizer "
                "make_weight_binarizer",
            ),
        ),
    ),
    "nncf": ApiPage(
        "NNCF checkpoints",
        "Reading and writing checkpoints of NNCF 2.9: see [migrating from NNCF](../migrating_from_nncf.md).",
        _names("fxbin", "load_nncf_checkpoint save_nncf_checkpoint NNCFCheckpointReport"),
    ),
    "passes": ApiPage(
        "Passes",
        "The passes of the compiler, and how to watch them.",
        (*_names("fxbin", "watch_passes PassRun"), *_names("fxbin.passes", "Pass run_passes")),
    ),
    "errors": ApiPage(
        "Errors",
        "Every error that fxbin raises on purpose is an `FxbinError`.",
        _names(
            "fxbin",
            "FxbinError ConfigError ScopeError TransformError TraceError CheckpointError DataError "
            "EngineError ExportError VerificationError TorchVersionError",
        ),
    ),
}
"""The pages by the name of their file, in the order of the navigation."""

ROOMS = {
    "fxbin.binarizers": "binarizers",
    "fxbin.config": "config",
    "fxbin.errors": "errors",
    "fxbin.openvino": "openvino",
}
"""The public subpackages of `fxbin`, and the page that shows the names of each."""


INTRODUCTION = (
    "Everything that users need is in `fxbin` itself, apart from the callbacks in `fxbin.lightning`. "
    "Names are loaded when they are first used, so `import fxbin` takes milliseconds. "
    "The [command line](command_line.md) has a page of its own."
)


def overview(summaries: dict[str, str]) -> str:
    """The first page: every name with the first line of its docstring, in `summaries`, by page."""
    parts = [
        "# API reference",
        INTRODUCTION,
    ]
    for file, page in PAGES.items():
        rows = [f"| [`{name}`][{name}] | {summaries[name]} |" for name in page.names]
        parts += [f"## [{page.title}]({file}.md)", "\n".join(["| name | |", "| --- | --- |", *rows])]
    return "\n\n".join(parts) + "\n"


def page_of(name: str) -> str:
    """The page that shows `name`, as a path in the site."""
    if name in ROOMS:
        return f"api/{ROOMS[name]}.md"
    return next(f"api/{file}.md" for file, page in PAGES.items() if name in page.names)
