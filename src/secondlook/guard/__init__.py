"""In front of a model in use: a calibrated verdict on every input, and what it costs to evade it."""
