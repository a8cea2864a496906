"""Hierarchical names of nodes, and the patterns that select by them."""
