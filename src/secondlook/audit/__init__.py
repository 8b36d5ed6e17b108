"""The matrix of tasks, defences, attacks and knowledge: planned, run, stored, reported."""
