"""The long-lived ChromaBridge server, its effects and its command line."""

__version__ = "0.1.0"
