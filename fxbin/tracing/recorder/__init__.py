"""What writes down the calls that a model makes."""
