"""The traced tensors and numbers that user code gets, which record what is done with them."""
