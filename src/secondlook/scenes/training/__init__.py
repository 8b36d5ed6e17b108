"""How the models that ship with the package are trained again, one recipe a model."""
