"""The protocol's version, apart from the package's."""

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0
MAGIC = b"CBR" + bytes([PROTOCOL_MAJOR])
