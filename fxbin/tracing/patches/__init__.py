"""Replaces functions of torch and Python while a model is traced."""
