"""The module that `fxbin.transform` returns: it runs graphs, or its own code, with binarized convolutions."""
