"""Graphs of transformed models as drawings (`fxbin.to_dot`) and as data (`fxbin.to_networkx`)."""
