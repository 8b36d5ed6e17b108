"""How alike two texts are: the field's measures of captions, as pure functions."""
