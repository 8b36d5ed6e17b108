"""Audits of captioning: an image is attacked, and what is said of it is read."""
