"""Chooses and runs the fast path for tensors, and says why."""
