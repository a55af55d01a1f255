"""The worker process: one device, its networks, and the sessions that run on it."""
