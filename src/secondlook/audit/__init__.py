"""The matrix of tasks, defenses, attacks and knowledge: planned, run, stored, reported."""
