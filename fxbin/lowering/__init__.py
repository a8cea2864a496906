"""What exports and deployed models share: a copy of a trained model, its shapes and its levels."""
