"""Test-time defenses of models with an image and a text tower, each as its authors published it."""
