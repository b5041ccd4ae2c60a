"""All conversations."""

from tests.conversations import (
    suite_batches,
    suite_metadata,
    suite_order,
    suite_produce,
    suite_replicas,
    suite_sasl,
    suite_sasl_sessions,
    suite_sequences,
    suite_times,
    suite_versions,
)

CONVERSATIONS = [
    *suite_versions.CONVERSATIONS,
    *suite_metadata.CONVERSATIONS,
    *suite_produce.CONVERSATIONS,
    *suite_replicas.CONVERSATIONS,
    *suite_batches.CONVERSATIONS,
    *suite_sequences.CONVERSATIONS,
    *suite_order.CONVERSATIONS,
    *suite_times.CONVERSATIONS,
    *suite_sasl.CONVERSATIONS,
    *suite_sasl_sessions.CONVERSATIONS,
]
