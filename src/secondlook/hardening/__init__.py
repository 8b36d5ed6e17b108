"""Adversarial training of embedders: one trainer, and a file for each method."""
