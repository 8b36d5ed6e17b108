"""Adapters of the families of encoders that transformers knows."""
