"""What runs inside hosts: wire protocol, client, plugins (Python 3.9, msgpack only)."""
