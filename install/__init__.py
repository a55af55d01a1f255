"""Setting ChromaBridge up, on a bare Python 3.9 or newer."""
