"""Bytes and records: the record batch v2, its compression and its hashes."""
