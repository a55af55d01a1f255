"""Setting ChromaBridge up, on a bare Python 3.9 or newer; nothing of ours is imported here."""
