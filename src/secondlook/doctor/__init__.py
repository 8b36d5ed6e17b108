"""What goes wrong with a model of one's own, looked for before it is audited."""
