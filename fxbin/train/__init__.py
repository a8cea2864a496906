"""Training a binarized network from a config file: data, teacher, staged schedule, checkpoints, curves.

Use `fxbin train CONFIG` on the command line, or `fxbin.train.run.train` from Python. Your own training loop
needs none of this: `fxbin.transform` and `fxbin.StagedSchedule` are enough.
"""
