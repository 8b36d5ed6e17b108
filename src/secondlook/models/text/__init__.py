"""Tokenizers, and how a caption is decoded."""
