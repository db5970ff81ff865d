"""What a node could not help: when an execution may be lost, and when an old command may meet a new one."""

import re
from typing import Dict, List, Optional, Tuple

from faults import Isolation
from nodes import UNRECORDED, Node
from settings import DEAD_AFTER, HEARTBEAT, LEASE

# A node that is free again needs so long to see that its claims are gone, and to end its commands.
WAKE_S = 3.0
# Two isolations so close together are one: no heartbeat has come through between them.
CLOSE_S = HEARTBEAT * 2


class Excuses:
    def __init__(self, nodes: List[Node], isolations: List[Isolation], sessions_lost: List[float],
                 stalls: List[Tuple[float, float]]) -> None:
        self.sessions_lost = sessions_lost
        self.isolations: Dict[str, List[Isolation]] = {}
        self.of_node: Dict[str, int] = {}
        self.reasons: Dict[str, str] = {}
        for number, node in enumerate(nodes):
            own = [it for it in isolations if it.node == number]
            # While the machine itself stood still nobody could do anything.
            own += [Isolation(number, "freeze", began, ended) for began, ended in stalls]
            self.isolations[node.name] = joined(own)
            log = node.log_text()
            for node_id, pid in node.node_ids().items():
                self.reasons[node_id] = reason_of(node, log, node_id, pid, bool(own))

    def of_loss(self, node_id: str) -> Optional[str]:
        """Why executions of this node may be lost; `None` if it should have kept them all."""
        return self.reasons.get(node_id) or None

    def of_overlap(self, node_id: str, at: float) -> bool:
        """Whether a command of this node may have been alive at a time when its claim was another's.

        A frozen node cannot end its commands when its lease is over. A node whose session is gone at the server
        is taken for dead after `dead_after`, and sees that only when it reaches the database again. A cut that
        leaves the sessions alone is no excuse: the node ends its commands long before its lease is over.
        """
        name = re.sub(r"-\d+-[0-9a-f]+$", "", node_id)
        for it in self.isolations.get(name, []):
            if not it.began <= at <= it.ended + WAKE_S:
                continue
            lost = it.kind == "refuse" or any(it.began - 1 <= when <= at for when in self.sessions_lost)
            needed = DEAD_AFTER if lost else LEASE if it.kind == "freeze" else None
            # The silence began with the last heartbeat, a little before the isolation.
            if needed is not None and at - it.began >= needed - CLOSE_S:
                return True
        return False


def reason_of(node: Node, log: str, node_id: str, pid: int, is_isolated: bool) -> str:
    if pid in node.killed:
        return "killed"
    if is_isolated:
        return "isolated"
    if pid in node.stopped and UNRECORDED in log:
        return "stopped while the database was away"
    if "claims of this node that it had lost" in log:
        return "out of sight"
    return ""


def joined(isolations: List[Isolation]) -> List[Isolation]:
    """Isolations that follow each other closely count as one, of the kind that excuses most."""
    merged: List[Isolation] = []
    weight = {"refuse": 2, "freeze": 1, "cut": 0}
    for it in sorted(isolations, key=lambda it: it.began):
        last = merged[-1] if merged else None
        if last and it.began <= last.ended + CLOSE_S:
            kind = max(last.kind, it.kind, key=lambda kind: weight[kind])
            merged[-1] = Isolation(it.node, kind, last.began, max(last.ended, it.ended))
        else:
            merged.append(it)
    return merged
