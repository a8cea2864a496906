"""The user's model as a Python object: its contents, what its code can reach, and how to copy it."""
