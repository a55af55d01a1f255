"""Starter: the small network of our own whose weights ship with the project."""
