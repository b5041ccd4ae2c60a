"""The table of the listeners, mechanisms and brokers that the producer connected to.

Each cell is the test of one connection: see `test_matrix`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.integration.conftest import OLDER, OLDEST
from tests.integration.kafka import NEWEST
from tests.integration.secured import GSSAPI, MECHANISMS, Listener

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDS = 1000

NAMES = {
    None: "PLAINTEXT",
    Listener.SSL: "SSL",
    Listener.MTLS: "SSL, client certificate",
    Listener.SASL_PLAINTEXT: "SASL_PLAINTEXT",
    Listener.SASL_SSL: "SASL_SSL",
}
VERY_OLD = "2.1.1"
VERSIONS = (VERY_OLD, OLDEST, OLDER, NEWEST)
PASSWORDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Row(NamedTuple):
    """A listener, None for the plaintext one, and a mechanism, None without SASL."""

    listener: Listener | None
    mechanism: str | None

    def __str__(self) -> str:
        name = "PLAINTEXT" if self.listener is None else self.listener.name
        return name if self.mechanism is None else f"{name}-{self.mechanism}"


ROWS = [
    Row(listener, mechanism)
    for listener in NAMES
    for mechanism in ((*MECHANISMS, GSSAPI) if listener is not None and listener.has_sasl else (None,))
]


def is_tested(row: Row, version: str) -> bool:
    """Return whether the matrix has this cell: old brokers are tested with passwords over TLS."""
    if version in (OLDER, NEWEST):
        return True
    return row.listener is Listener.SASL_SSL and row.mechanism in PASSWORDS


CELLS = [(row, version) for version in VERSIONS for row in ROWS if is_tested(row, version)]


def table_of(results: Mapping[tuple[Row, str], str]) -> str:
    """Return the table as Markdown; a cell without a result is empty."""
    rows = (
        f"| {NAMES[row.listener]} | {row.mechanism or ''} | "
        + " | ".join(results.get((row, version), "") for version in VERSIONS)
        + " |\n"
        for row in ROWS
    )
    header = f"| listener | mechanism | {' | '.join(VERSIONS)} |\n|---|---|{'---|' * len(VERSIONS)}\n"
    return INTRODUCTION + header + "".join(rows)


INTRODUCTION = f"""\
# Listeners, mechanisms and brokers

Each cell is a run against Apache Kafka of that version: {RECORDS:,} idempotent records, which librdkafka
reads back. Written by the tests. Do not edit it by hand:

    pytest -q --security-matrix tests/integration/security/MATRIX.md tests/integration/security/test_matrix.py

"""
