"""The configuration of a producer, checked before anything is opened.

`options` declares every option once, with its kind from `kinds`; `ProducerConfig` checks them alone
and, with `rules`, together. `foreign` has the names of Java and librdkafka. To add an option, add a
field in `options` and a line in `keywords`.
"""

from aioproducer.config.keywords import AllOptions, ProducerOptions
from aioproducer.config.kinds import Partitioner, PartitionerName, Serializer
from aioproducer.config.option import Option
from aioproducer.config.options import OPTIONS, options_doc
from aioproducer.config.producer_config import ProducerConfig

__all__ = [
    "OPTIONS",
    "AllOptions",
    "Option",
    "Partitioner",
    "PartitionerName",
    "ProducerConfig",
    "ProducerOptions",
    "Serializer",
    "options_doc",
]
