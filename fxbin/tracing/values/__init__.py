"""Tensors and numbers without data that stand for those of a run."""
