"""ProducerConfig: the checked configuration of a producer.

    keywords ───────────────────────────────┐
    properties, environment ──own_options───┴──▶ each option ──▶ options together ──▶ ProducerConfig
                                                 (its kind)      (the rules)

Some rules and defaults depend on which options were set, not only on their values. So a config
remembers those, and `replace` starts again from them.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final, Self, SupportsIndex, Unpack

from aioproducer.config.foreign import environment_properties, from_librdkafka, own_options, refuse_foreign
from aioproducer.config.keywords import AllOptions, ProducerOptions
from aioproducer.config.kinds import Serializer
from aioproducer.config.option import Option
from aioproducer.config.options import OPTIONS, Options
from aioproducer.config.properties_file import read_properties
from aioproducer.config.rules import settle
from aioproducer.config.security_rules import SecurityRules
from aioproducer.errors import ConfigurationError

logger: Final = logging.getLogger("aioproducer.config")


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False)
class ProducerConfig(Options):
    """The configuration of a producer; an invalid one raises `ConfigurationError`.

    Options are keywords with Kafka's names, `_` for `.`; `from_properties` and `from_env` read
    them from other sources. `replace` returns a changed copy; `dataclasses.replace` is refused
    because it cannot tell which options were set.

    >>> config = ProducerConfig(bootstrap_servers="localhost:9092", linger_ms=20)
    >>> config.linger, config.acks
    (0.02, -1)
    """

    _given: dict[str, Any] = field(compare=False)

    def __init__(
        self,
        *,
        bootstrap_servers: str | Sequence[str],
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        if "_given" in options:
            message = "use ProducerConfig.replace; dataclasses.replace cannot tell which options were set"
            raise TypeError(message)
        given = _canonical(
            {
                # A list could change before `replace` reads it again.
                "bootstrap_servers": (
                    tuple(bootstrap_servers) if isinstance(bootstrap_servers, list) else bootstrap_servers
                ),
                "key_serializer": key_serializer,
                "value_serializer": value_serializer,
                **options,
            }
        )
        for name, value in {**_settled(given), "_given": given}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_properties(
        cls, source: Mapping[str, object] | str | os.PathLike[str], **overrides: Unpack[AllOptions]
    ) -> Self:
        """Read options from Java properties: a mapping, or the path of a UTF-8 `.properties` file.

        Names are Java's (`linger.ms`) or librdkafka's (`queue.buffering.max.ms`, in its own
        unit), with `_` or `.`. Strings are converted ("5", "true"), also the class names of
        Java's `ByteArraySerializer`, `StringSerializer` and `RoundRobinPartitioner`. The common
        login modules of `sasl.jaas.config` are understood.
        `overrides` are keywords of this class and take precedence.
        """
        if not isinstance(source, Mapping):
            source = read_properties(source)
        return cls._from_foreign(source, overrides)

    @classmethod
    def from_env(
        cls, prefix: str = "KAFKA_", environ: Mapping[str, str] | None = None, **overrides: Unpack[AllOptions]
    ) -> Self:
        """Read options from the environment: `KAFKA_LINGER_MS` is the property `linger.ms`.

        Empty variables count as not set. Variables that are not options are ignored, since other
        programs use the prefix too (`KAFKA_HOME`); a near miss is logged as a warning.
        """
        variables = os.environ if environ is None else environ
        return cls._from_foreign(environment_properties(variables, prefix, OPTIONS), overrides)

    @classmethod
    def _from_foreign(cls, properties: Mapping[str, object], overrides: Mapping[str, Any]) -> Self:
        options: dict[str, Any] = own_options(properties, OPTIONS, _canonical(overrides))
        if "bootstrap_servers" not in options:
            message = f"bootstrap_servers is missing; it must be {OPTIONS['bootstrap_servers'].kind.expected}"
            raise ConfigurationError(message, option="bootstrap_servers")
        if from_librdkafka(properties) and "partitioner" not in options:
            logger.warning(
                "The properties have librdkafka's names and no partitioner: keys go to the same partitions "
                "as with Java (murmur2); partitioner='crc32' is librdkafka's"
            )
        return cls(**options)

    def replace(self, **changes: Unpack[AllOptions]) -> Self:
        """Return a config with some options changed; all options are checked again."""
        # From the given options, not from the settled ones: replacing acks=1 by "all" turns
        # idempotence on again.
        return type(self)(**{**self._given, **_canonical(changes)})

    __replace__ = replace

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in OPTIONS}
        changed = (
            f"{name}={OPTIONS[name].show(value)}"
            for name, value in values.items()
            if value != OPTIONS[name].default
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        # A pickle ends in files and queues, so it must not hold a password. A pickle without the password
        # would only fail later, far from here. A function is pickled by its name and holds no secret; a
        # partial or a method is pickled with its arguments or its object.
        secrets = [name for name, option in OPTIONS.items() if self._may_hold_secret(name, option)]
        if secrets:
            message = (
                f"a ProducerConfig with {', '.join(secrets)} cannot be pickled, because it holds a secret: "
                "make the config where it is needed, for example with from_env, or set a function"
            )
            raise TypeError(message)
        return object.__reduce_ex__(self, protocol)

    def _may_hold_secret(self, name: str, option: Option) -> bool:
        value = getattr(self, name)
        if callable(value):
            return name.startswith("sasl_") and not isinstance(value, FunctionType)
        return option.kind.is_secret and value is not None


_NOT_IMPLEMENTED = (
    "transactional_id",
    "transaction_timeout_ms",
    "metrics_recording_level",
)


def _canonical(options: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(options)
    if "partitioner_class" in own:
        if "partitioner" in own:
            message = "partitioner is given twice, also as partitioner_class"
            raise ConfigurationError(message, option="partitioner")
        own["partitioner"] = own.pop("partitioner_class")
    return own


def _settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every option: the `given` ones, defaults, and the effect of the rules."""
    values = {name: option.default for name, option in OPTIONS.items()}
    for name, value in given.items():
        if name in OPTIONS:
            values[name] = OPTIONS[name].take(value)
        else:
            refuse_foreign(name, value, OPTIONS)
    # First single values, then the rules between them: a rule may rely on each value's type.
    settle(values, given)
    defaults = {name: option.default for name, option in OPTIONS.items()}
    SecurityRules(values, given, defaults).check(given["bootstrap_servers"])
    for name in _NOT_IMPLEMENTED:
        if values[name] != OPTIONS[name].default:
            message = f"{name}={values[name]!r} is not implemented yet; it must be {OPTIONS[name].default!r}"
            raise ConfigurationError(message, option=name, value=values[name])
    return values
