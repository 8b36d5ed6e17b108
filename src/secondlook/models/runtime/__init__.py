"""How networks are run: engine, memory, caches."""
