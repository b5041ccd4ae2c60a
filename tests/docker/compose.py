"""The environments in `docker/`, read from their compose files.

image: apache/kafka:4.3.1        ──▶  version 4.3.1
KAFKA_ADVERTISED_LISTENERS: …    ──▶  the property advertised.listeners, as the image maps it
./certificates:/etc/kafka/…:ro   ──▶  mounts: path in the container → path here
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
FILES = sorted(FOLDER.glob("*.yaml"))

# The prefix of variables that an image maps to properties.
_PREFIXES = {"apache/kafka": "KAFKA_", "bitnamilegacy/kafka": "KAFKA_CFG_"}


@dataclass(frozen=True, slots=True)
class Service:
    """One container."""

    name: str
    image: str
    declared: dict[str, Any]

    @property
    def repository(self) -> str:
        return self.image.rpartition(":")[0]

    @property
    def version(self) -> str:
        return self.image.rpartition(":")[2]

    @property
    def is_kafka(self) -> bool:
        return self.repository in _PREFIXES

    @property
    def properties(self) -> dict[str, str]:
        """The properties of a broker."""
        prefix = _PREFIXES[self.repository]
        return {
            _property(name.removeprefix(prefix)): str(value)
            for name, value in self.declared["environment"].items()
            if name.startswith(prefix)
        }

    @property
    def ports(self) -> dict[int, str]:
        """The address on the host of each published port."""
        published = {}
        for port in self.declared.get("ports", []):
            address, _, inner = port.rpartition(":")
            published[int(inner)] = address
        return published

    @property
    def mounts(self) -> dict[str, Path]:
        mounts = {}
        for mount in self.declared.get("volumes", []):
            source, target, _ = mount.split(":")
            mounts[target] = FOLDER / source
        return mounts


def services(path: Path) -> dict[str, Service]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: Service(name, declared["image"], declared) for name, declared in content["services"].items()
    }


def _property(variable: str) -> str:
    # KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___256_… is listener.name.sasl.scram-sha-256.…
    return (
        variable.lower()
        .replace("___", "\0")
        .replace("__", "\1")
        .replace("_", ".")
        .replace("\0", "-")
        .replace("\1", "_")
    )
