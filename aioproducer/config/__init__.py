"""The configuration of a producer, checked before anything is opened.

`general_options` and `security_options` declare every option once, with its kind from `kinds` and
`security_kinds`; `ProducerConfig` checks them alone and, with `rules` and `security_rules`, together.
`foreign` and `foreign_security` have the names of other clients, `jaas` reads `sasl.jaas.config`. To add
an option, add a field to its class and a line in `keywords`.
"""

from aioproducer.config.keywords import AllOptions, ProducerOptions
from aioproducer.config.kinds import Partitioner, PartitionerName, Serializer
from aioproducer.config.option import Option
from aioproducer.config.options import OPTIONS, options_doc
from aioproducer.config.producer_config import ProducerConfig
from aioproducer.config.security_kinds import Credential, TokenProvider

__all__ = [
    "OPTIONS",
    "AllOptions",
    "Credential",
    "Option",
    "Partitioner",
    "PartitionerName",
    "ProducerConfig",
    "ProducerOptions",
    "Serializer",
    "TokenProvider",
    "options_doc",
]
