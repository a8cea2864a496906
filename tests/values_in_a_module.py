"""Global variables of another module of Python, for tests/test_values_beyond.py."""

FACTOR = 1.0
