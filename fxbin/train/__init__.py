"""Training a binarized network from a config file: data, teacher, staged schedule, checkpoints, curves.

`fxbin train CONFIG` on the command line, `run_training` from Python. A loop of one's own needs none
of this: `fxbin.transform` and `fxbin.StagedSchedule` are enough.
"""
