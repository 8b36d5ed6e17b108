"""Defenses: views of the input, aggregation, detectors, adaptations, and the models that they guard."""
