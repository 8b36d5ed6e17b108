"""Defenses: views of the input, aggregation, detectors, and the models that they guard."""
