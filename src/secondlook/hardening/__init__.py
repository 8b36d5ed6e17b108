"""Adversarial training of embedders: one trainer, and a method a file for what it teaches."""
