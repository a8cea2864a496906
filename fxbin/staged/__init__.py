"""Training in stages: the schedule and its state, parameter groups, BatchNorm statistics."""
