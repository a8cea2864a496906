"""Data about the nodes of a graph: names, operators, shapes, call sites."""
