"""Records the calls that a model makes as nodes of a graph."""
