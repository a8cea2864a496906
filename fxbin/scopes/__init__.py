"""Hierarchical names of operators, and the patterns in a config that select by them."""
