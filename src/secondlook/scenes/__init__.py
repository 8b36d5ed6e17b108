"""The embedded world: rendered scenes with captions, classes and boxes, and models of them."""
