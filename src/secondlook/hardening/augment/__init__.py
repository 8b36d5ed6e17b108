"""Other words for a caption and other looks of an image: the many of one-to-many."""
