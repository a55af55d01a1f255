"""What runs inside hosts: the wire protocol, the client and the host plugins (Python 3.9, msgpack only)."""
