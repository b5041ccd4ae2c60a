"""Kafka's own command line tools, as independent checks.

Classes and options have other names in older versions: see the table and `_property_option`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tests.integration.maven import parse_version
from tests.integration.properties import pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.integration.properties import Properties

_NULL = "<null>"

# The class of a tool, and the first version with it.
_CLASSES = {
    "ConsoleConsumer": (
        ((3, 8), "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        ((0,), "kafka.tools.ConsoleConsumer"),
    ),
    "ConsoleProducer": (
        ((4, 0), "org.apache.kafka.tools.ConsoleProducer"),
        ((0,), "kafka.tools.ConsoleProducer"),
    ),
    "DumpLogSegments": (
        ((4, 2), "org.apache.kafka.tools.DumpLogSegments"),
        ((0,), "kafka.tools.DumpLogSegments"),
    ),
    "ProducerPerformance": (((0,), "org.apache.kafka.tools.ProducerPerformance"),),
}

# KIP-1147 gave each kind of property its own option.
_OWN_PROPERTY_NAMES = (4, 2)


class Tools(ABC):
    """The tools of one Kafka version, run here or in a container."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The version of the tools."""

    @abstractmethod
    def _run_tool(self, main_class: str, arguments: Sequence[str], stdin: str = "") -> str:
        """Run a class to its end and return its standard output."""

    @abstractmethod
    def _tools_bootstrap(self) -> str:
        """Return the bootstrap address for the tools."""

    @abstractmethod
    def _segments(self, topic: str, partition: int) -> list[str]:
        """Return the paths of a partition's log files, for the tools."""

    def console_consumer(
        self,
        topic: str,
        *,
        from_beginning: bool = True,
        max_messages: int | None = None,
        timeout: float = 10.0,
        properties: Properties | None = None,
    ) -> list[str]:
        """Return the lines that kafka-console-consumer prints.

        It ends after `max_messages` records, or after `timeout` seconds without a record.
        `properties` are the formatter's: `print.partition`, `print.offset`,
        `print.timestamp`, `print.headers`, `print.key`, `key.separator`, …
        """
        arguments = ["--bootstrap-server", self._tools_bootstrap(), "--topic", topic]
        arguments += ["--timeout-ms", str(round(timeout * 1000))]
        if from_beginning:
            arguments.append("--from-beginning")
        if max_messages is not None:
            arguments += ["--max-messages", str(max_messages)]
        for pair in pairs(properties):
            arguments += [self._property_option("formatter"), pair]
        printed = self._run_tool(self._class("ConsoleConsumer"), arguments)
        return printed.removesuffix("\n").split("\n") if printed else []

    def console_producer(
        self,
        topic: str,
        records: Iterable[tuple[str | None, str | None]],
        *,
        config: Properties | None = None,
    ) -> None:
        """Send (key, value) records with kafka-console-producer, and so with Kafka's Java producer.

        Keys and values are text without tabs and newlines; `config` is the producer's.
        """
        arguments = ["--bootstrap-server", self._tools_bootstrap(), "--topic", topic]
        for pair in pairs({"parse.key": True, "key.separator": "\t", "null.marker": _NULL}):
            arguments += [self._property_option("reader"), pair]
        producer_option = "--command-property" if self._has_own_property_names() else "--producer-property"
        for pair in pairs(config):
            arguments += [producer_option, pair]
        lines = (
            f"{_NULL if key is None else key}\t{_NULL if value is None else value}\n"
            for key, value in records
        )
        self._run_tool(self._class("ConsoleProducer"), arguments, "".join(lines))

    def producer_performance(
        self, topic: str, num_records: int, record_size: int, config: Properties | None = None
    ) -> str:
        """Return the last line of kafka-producer-perf-test at full speed; `config` is the producer's."""
        arguments = ["--topic", topic, "--num-records", str(num_records), "--record-size", str(record_size)]
        arguments += ["--throughput", "-1"]
        arguments.append("--command-property" if self._has_own_property_names() else "--producer-props")
        arguments.append(f"bootstrap.servers={self._tools_bootstrap()}")
        arguments += pairs(config)
        return self._run_tool(self._class("ProducerPerformance"), arguments).strip().split("\n")[-1]

    def dump_log(self, topic: str, partition: int = 0) -> str:
        """Return DumpLogSegments' output for a partition; the broker may be running."""
        files = ",".join(self._segments(topic, partition))
        arguments = ["--deep-iteration", "--print-data-log", "--files", files]
        return self._run_tool(self._class("DumpLogSegments"), arguments)

    def _class(self, tool: str) -> str:
        version = parse_version(self.version)
        return next(name for since, name in _CLASSES[tool] if version >= since)

    def _property_option(self, kind: str) -> str:
        return f"--{kind}-property" if self._has_own_property_names() else "--property"

    def _has_own_property_names(self) -> bool:
        return parse_version(self.version) >= _OWN_PROPERTY_NAMES
