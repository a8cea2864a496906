"""What `fxbin.transform` returns: a module that runs graphs, or its own code, with binarized convolutions."""
