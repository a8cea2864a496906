"""Restores what a trace changes."""
