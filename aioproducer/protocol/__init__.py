"""Bytes and Kafka messages: one file an API, all versions in one frozen dataclass, both directions."""
