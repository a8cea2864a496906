"""What nodes of a graph say about themselves: names, operators, shapes, call sites."""
