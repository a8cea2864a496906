"""The config: its keys, how it is read, and the messages about mistakes in it."""

from fxbin.config.binarization import Binarization
from fxbin.config.binarizer_parts import Activations, Weights
from fxbin.config.input_info import InputInfo
from fxbin.config.load import ConfigSource, check_config, load_config
from fxbin.config.models import Config
from fxbin.config.params import Params
from fxbin.config.problems import Problem
from fxbin.config.reference import config_tables
from fxbin.config.schema import config_json_schema, config_json_schema_text

__all__ = [
    "Activations",
    "Binarization",
    "Config",
    "ConfigSource",
    "InputInfo",
    "Params",
    "Problem",
    "Weights",
    "check_config",
    "config_json_schema",
    "config_json_schema_text",
    "config_tables",
    "load_config",
]
