"""A SCRAM server for tests, written from the RFC, which can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass


@dataclass
class ScramServer:
    """Knows the password of one user; `received` is what the client sent."""

    algorithm: str
    password: bytes
    salt: bytes = b"salt-of-16-bytes"
    iterations: int = 4096
    extension: str = ""

    def challenge(self, client_first: bytes) -> bytes:
        self.client_first_bare = client_first.split(b",", 2)[2]
        [self.nonce] = [part[2:] for part in self.client_first_bare.split(b",") if part.startswith(b"r=")]
        salt = base64.b64encode(self.salt).decode()
        self.server_first = self.nonce + f"SERVER,s={salt},i={self.iterations}{self.extension}".encode()
        self.server_first = b"r=" + self.server_first
        return self.server_first

    def verdict(self, client_final: bytes) -> bytes | None:
        """Return the server's final message; None if the proof is wrong."""
        without_proof, _, proof = client_final.rpartition(b",p=")
        assert without_proof == b"c=biws,r=" + self.nonce + b"SERVER"
        salted = hashlib.pbkdf2_hmac(self.algorithm, self.password, self.salt, self.iterations)
        signed = b",".join([self.client_first_bare, self.server_first, without_proof])
        stored = hashlib.new(self.algorithm, self._hmac(salted, b"Client Key")).digest()
        mask = self._hmac(stored, signed)
        client_key = bytes([a ^ b for a, b in zip(mask, base64.b64decode(proof), strict=True)])
        if hashlib.new(self.algorithm, client_key).digest() != stored:
            return None
        return b"v=" + base64.b64encode(self._hmac(self._hmac(salted, b"Server Key"), signed))

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self.algorithm).digest()
