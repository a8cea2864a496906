"""Comparing a file with the model it was exported from: samples, a reference, and the comparison."""
