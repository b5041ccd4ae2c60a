"""The version of this library; brokers receive it in ApiVersions."""

__version__ = "0.1.0"
