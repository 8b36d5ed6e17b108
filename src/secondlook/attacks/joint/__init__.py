"""Attacks on images together with their captions."""
