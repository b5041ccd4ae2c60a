"""Kafka's protocol as bytes and messages, without I/O.

    bytes ── frame ── reader ──▶ ProduceResponse(…)     messages: one file for each API,
    bytes ◀── frame ── writer ── ProduceRequest(…)      all versions in one dataclass

`fields` holds the types that `reader` and `writer` share, `api` the protocols of the message
classes. Message classes have an attribute for each ability of a version, for example
`ProduceRequest.topic_ids_from`; no other module has version numbers.
"""
