"""Optimizers of an objective inside a threat, one file each."""
