"""Code that exports and deployments share: the copy of a trained model, its shapes and its levels."""
