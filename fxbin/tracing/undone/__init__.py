"""What a trace changes, put back."""
