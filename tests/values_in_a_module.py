"""Global variables of another Python module, for tests/test_values_beyond.py."""

FACTOR = 1.0
