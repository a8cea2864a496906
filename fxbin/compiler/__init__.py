"""Turns a model and a config into a binarized module: capture, selection, passes."""
