"""The architectures of the embedded world's models, from plain layers, one family a file."""
