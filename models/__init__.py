"""Colorization networks and how they carry color through a shot."""
