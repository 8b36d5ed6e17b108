"""Audits of grounding: image or text is attacked, and the map that finds the text is read."""
