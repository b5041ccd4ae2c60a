"""What the topics of a conversation are called on the stage where it is held."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aioproducer.protocol.fields import ZERO_UUID

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(slots=True)
class Names:
    """A conversation says `orders`; a broker that others use too has to call it something else.

    Ids are remembered when their topics are gone: the id that `orders` had before it was created
    anew goes by the name `orders before`.
    """

    _suffix: str = field(default_factory=lambda: f"-{secrets.token_hex(4)}")
    _ids: dict[str, UUID] = field(default_factory=dict)

    def here(self, topic: str) -> str:
        """Return the name that the broker knows the topic by; what is no legal name stays as it is."""
        return f"{topic}{self._suffix}" if topic.isalpha() else topic

    def there(self, name: str) -> str | None:
        """Return the conversation's name for a topic of the broker, None if it is somebody else's."""
        return name.removesuffix(self._suffix) if name.endswith(self._suffix) else None

    def id_of(self, topic: str) -> UUID:
        """Return the id that the topic has or had; zeros if it never had one."""
        return self._ids.get(topic, ZERO_UUID)

    def has_id(self, topic: str, topic_id: UUID) -> None:
        if topic in self._ids:
            self._ids[f"{topic} before"] = self._ids[topic]
        self._ids[topic] = topic_id

    def topic_with(self, topic_id: UUID) -> str | None:
        """Return whose id this is or was."""
        return next((topic for topic, known in self._ids.items() if known == topic_id), None)
