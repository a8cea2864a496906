"""From a model and a config to a binarized module: capture, selection, passes."""
