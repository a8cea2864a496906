"""The user's own model as an object of Python: what it holds, reaches and remembers, and how to copy it."""
