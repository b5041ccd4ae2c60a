"""One option: its name, its kind, its default and its documentation."""

from typing import Any, Final, NamedTuple

from aioproducer.config.kinds import HoldsSecretError, Kind
from aioproducer.errors import ConfigurationError

HIDDEN: Final = "[hidden]"


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
        except HoldsSecretError as reason:
            raise self._hidden_refusal(str(reason)) from None
        except ValueError as reason:
            raise self._refusal(value, str(reason)) from None

    def read(self, text: str) -> object:
        """Convert the text of a properties file; raise `ConfigurationError` for an invalid one."""
        try:
            return self.kind.read(text.strip())
        except ValueError:
            raise self._refusal(text) from None

    def show(self, value: object) -> str:
        """Return a value as text for reprs and messages: `[hidden]` for a secret."""
        # The repr of a partial has its arguments: a user name may come from fetch("a secret").
        hides = self.kind.is_secret or (callable(value) and self.name.startswith("sasl_"))
        return HIDDEN if hides and value is not None else repr(value)

    def _refusal(self, value: object, reason: str = "") -> ConfigurationError:
        if self.kind.is_secret:
            return self._hidden_refusal(reason)
        message = f"{self.name} must be {self.kind.expected}, not {value!r}"
        return ConfigurationError(
            f"{message}: {reason}" if reason else message, option=self.name, value=value
        )

    def _hidden_refusal(self, reason: str) -> ConfigurationError:
        message = f"{self.name} must be {self.kind.expected}, not {HIDDEN}"
        return ConfigurationError(f"{message}: {reason}" if reason else message, option=self.name)
