"""One option: its name, its kind, its default and its documentation."""

from typing import Any, NamedTuple

from aioproducer.config.kinds import Kind
from aioproducer.errors import ConfigurationError


class Option(NamedTuple):
    """An option of the producer."""

    name: str
    kind: Kind
    default: Any
    doc: str

    @property
    def java_name(self) -> str:
        """Kafka's name of the option in properties files."""
        return "partitioner.class" if self.name == "partitioner" else self.name.replace("_", ".")

    def take(self, value: object) -> object:
        """Return `value` in its normal form; raise `ConfigurationError` for an invalid one."""
        try:
            return self.kind.take(value)
        except ValueError as reason:
            raise self._refusal(value, str(reason)) from None

    def read(self, text: str) -> object:
        """Convert the text of a properties file; raise `ConfigurationError` for an invalid one."""
        try:
            return self.kind.read(text.strip())
        except ValueError:
            raise self._refusal(text) from None

    def _refusal(self, value: object, reason: str = "") -> ConfigurationError:
        message = f"{self.name} must be {self.kind.expected}, not {value!r}"
        return ConfigurationError(
            f"{message}: {reason}" if reason else message, option=self.name, value=value
        )
