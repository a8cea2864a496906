"""Graphs as pictures and as data: `fxbin.to_dot` and `fxbin.to_networkx`."""
