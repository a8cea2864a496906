"""What was binarized, what was not and why: `fxbin.summary`."""
