"""Does to brokers what a plan says, each broker in a thread of its own, and all moves in another.

What the threads do is little (signals, forks, small requests), so that the event loop whose
punctuality is measured is not held up by those who disturb it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.integration.chaos.plan import Kind
from tests.integration.topics import AdminError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.chaos.cluster import ChaosCluster
    from tests.integration.chaos.plan import Harm

_MOVES = 0


class BrokerHarms:
    """Carries a plan out on a cluster.

    `journal` says what came of each harm, and when. Moves take turns, and may be refused: their
    node may be away, or too far behind to lead.
    """

    def __init__(self, cluster: ChaosCluster, topics: Sequence[str], plan: Sequence[Harm]) -> None:
        self.journal: list[str] = []
        self._cluster = cluster
        self._topics = topics
        self._plan = plan

    def carry_out(self) -> None:
        """Let it all happen, from now on; returns when it is over."""
        lanes: dict[int, list[Harm]] = {}
        for harm in self._plan:
            lanes.setdefault(_MOVES if harm.kind is Kind.MOVE else harm.node, []).append(harm)
        began = time.monotonic()
        with ThreadPoolExecutor(len(lanes) or 1, "chaos") as threads:
            for lane in [threads.submit(self._carry_out, harms, began) for harms in lanes.values()]:
                lane.result()

    def _carry_out(self, harms: Sequence[Harm], began: float) -> None:
        for harm in harms:
            time.sleep(max(0.0, began + harm.at - time.monotonic()))
            outcome = self._inflict(harm)
            self.journal.append(f"{harm}: {outcome} at {time.monotonic() - began:.2f} s")

    def _inflict(self, harm: Harm) -> str:
        cluster, node = self._cluster, harm.node
        match harm.kind:
            case Kind.KILL:
                cluster.kill(node)
                time.sleep(harm.seconds)
                cluster.start_node(node)
            case Kind.RESTART:
                cluster.end_node(node)
                cluster.start_node(node)
            case Kind.PAUSE:
                cluster.pause(node)
                time.sleep(harm.seconds)
                cluster.resume(node)
            case Kind.MOVE:
                try:
                    for topic in self._topics:
                        cluster.ask_to_lead(topic, int(harm.amount), node)
                except (AdminError, OSError) as refusal:
                    return f"refused ({refusal})"
            case _:
                message = f"{harm} is none for brokers"
                raise ValueError(message)
        return "over"
