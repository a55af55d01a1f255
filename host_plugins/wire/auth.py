"""Proof that a peer knows the connection file's token; the token itself never travels."""

from __future__ import annotations

import hashlib
import hmac

TOKEN_BYTES = 32
NONCE_BYTES = 16


def proof(token: bytes, role: str, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """HMAC-SHA-256 over the role and both nonces; role is "client" or "server". 32 bytes."""
    text = b"chromabridge:" + role.encode() + b":" + client_nonce + server_nonce
    return hmac.new(token, text, hashlib.sha256).digest()


def is_proof(given: bytes, token: bytes, role: str, client: bytes, server: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given, proof(token, role, client, server))
