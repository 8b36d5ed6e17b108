"""Purifiers: filters without weights, and what those with a network have in common."""
