"""The data of `fxbin train`: where pictures come from, and the batches that the trainer takes from them."""

from fxbin.train.data.in_memory import ImageData
from fxbin.train.data.included import load_images
from fxbin.train.data.interface import Batch, Data, TrainingBatches
from fxbin.train.data.open import open_data

__all__ = ["Batch", "Data", "ImageData", "TrainingBatches", "load_images", "open_data"]
