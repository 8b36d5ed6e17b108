"""Data with a truth, a target and a metric."""
