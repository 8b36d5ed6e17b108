"""Checkpoints, cards, and the preprocessing of images."""
