"""Modules that give weights and activations two levels, and the registry that looks them up by name."""

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.distributed import IGNORED_BY_DDP, ignored_by_ddp, synchronize
from fxbin.binarizers.registry import (
    activation_binarizer_names,
    make_activation_binarizer,
    make_weight_binarizer,
    register_activation_binarizer,
    register_weight_binarizer,
    weight_binarizer_names,
)
from fxbin.binarizers.weight import DoReFaWeightBinarizer, WeightBinarizer, XNORWeightBinarizer

__all__ = [
    "IGNORED_BY_DDP",
    "ActivationBinarizer",
    "Binarizer",
    "DoReFaWeightBinarizer",
    "WeightBinarizer",
    "XNORWeightBinarizer",
    "activation_binarizer_names",
    "ignored_by_ddp",
    "make_activation_binarizer",
    "make_weight_binarizer",
    "register_activation_binarizer",
    "register_weight_binarizer",
    "synchronize",
    "weight_binarizer_names",
]
