"""The front process: sockets, sessions, credit and scheduling; never imports torch."""
