"""The summary of a transformed model, which `fxbin.summary` returns, and the list of its scopes."""
