"""Training in stages: the schedule, its state, and what optimizers and batch norms need for it."""
