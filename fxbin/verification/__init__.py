"""Whether a file computes what the model does: samples, a reference, and the comparison."""
