"""Figures that a machine measures: one command each, never an assertion."""
