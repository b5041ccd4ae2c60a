"""The names of a conversation's topics on the broker that it runs against."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aioproducer.protocol.fields import ZERO_UUID

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(slots=True)
class TopicNames:
    """Maps `orders` to a unique name, because a broker may be shared: `orders-1f2e3d4c`.

    Ids of deleted topics are kept: after `orders` is recreated, its old id belongs to the name
    `orders before`.
    """

    challenge: bytes = b""
    """The bytes of the last SaslAuthenticate response, for the next request of the exchange."""
    _suffix: str = field(default_factory=lambda: f"-{secrets.token_hex(4)}")
    _ids: dict[str, UUID] = field(default_factory=dict)

    def on_broker(self, topic: str) -> str:
        """Return the topic's name on the broker; an illegal name stays unchanged."""
        return f"{topic}{self._suffix}" if topic.isalpha() else topic

    def in_conversation(self, name: str) -> str | None:
        """Return the conversation's name for a topic of the broker, None for a foreign topic."""
        return name.removesuffix(self._suffix) if name.endswith(self._suffix) else None

    def id_of(self, topic: str) -> UUID:
        """Return the topic's present or former id; zeros if it never had one."""
        return self._ids.get(topic, ZERO_UUID)

    def set_id(self, topic: str, topic_id: UUID) -> None:
        if topic in self._ids:
            self._ids[f"{topic} before"] = self._ids[topic]
        self._ids[topic] = topic_id

    def topic_with(self, topic_id: UUID) -> str | None:
        """Return the topic with this present or former id."""
        return next((topic for topic, known in self._ids.items() if known == topic_id), None)
