"""Experiments: trainings and comparisons that take hours, each one command that can be resumed."""
