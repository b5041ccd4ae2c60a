"""The brokers' responses: one module per API, named after it."""
