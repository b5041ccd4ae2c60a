"""Runs the broker faults of a plan: one thread for each broker, and one for all moves of leaders.

The threads do little work (signals, forks, small requests), so they do not delay the event loop,
whose stalls are measured.
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
    from tests.integration.chaos.plan import ChaosFault

_MOVES = 0


class BrokerFaults:
    """Runs a plan on a cluster.

    `journal` has the result and end time of each fault. A move of a leader may be refused: the
    node may be away, or not in sync.
    """

    def __init__(self, cluster: ChaosCluster, topics: Sequence[str], plan: Sequence[ChaosFault]) -> None:
        self.journal: list[str] = []
        self._cluster = cluster
        self._topics = topics
        self._plan = plan

    def run(self) -> None:
        """Run all faults from now on, and return after the last one."""
        lanes: dict[int, list[ChaosFault]] = {}
        for fault in self._plan:
            lanes.setdefault(_MOVES if fault.kind is Kind.MOVE else fault.node, []).append(fault)
        began = time.monotonic()
        with ThreadPoolExecutor(len(lanes) or 1, "chaos") as threads:
            for lane in [threads.submit(self._run_faults, faults, began) for faults in lanes.values()]:
                lane.result()

    def _run_faults(self, faults: Sequence[ChaosFault], began: float) -> None:
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            result = self._apply(fault)
            self.journal.append(f"{fault}: {result} at {time.monotonic() - began:.2f} s")

    def _apply(self, fault: ChaosFault) -> str:
        cluster, node = self._cluster, fault.node
        match fault.kind:
            case Kind.KILL:
                cluster.kill(node)
                time.sleep(fault.seconds)
                cluster.start_node(node)
            case Kind.RESTART:
                cluster.end_node(node)
                cluster.start_node(node)
            case Kind.PAUSE:
                cluster.pause(node)
                time.sleep(fault.seconds)
                cluster.resume(node)
            case Kind.MOVE:
                try:
                    for topic in self._topics:
                        cluster.request_leader(topic, int(fault.amount), node)
                except (AdminError, OSError) as refusal:
                    return f"refused ({refusal})"
            case _:
                message = f"{fault} is no broker fault"
                raise ValueError(message)
        return "over"
