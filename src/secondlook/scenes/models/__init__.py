"""The models of the embedded world: a file for each kind, network and adapter together."""
