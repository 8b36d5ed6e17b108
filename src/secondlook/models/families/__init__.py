"""Model families: one file or one package each, registered by name."""
