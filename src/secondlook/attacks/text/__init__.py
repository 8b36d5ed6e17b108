"""Attacks on captions: one word for another."""
