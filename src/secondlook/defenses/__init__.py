"""Wrappers around models that take a second look before they trust the first."""
