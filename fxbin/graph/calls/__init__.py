"""Functions that the generated code of a graph calls when it runs."""
