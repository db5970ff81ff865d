"""What a node could not help: when an execution may be lost, and when an old command may meet a new one."""

import re
from typing import Dict, List, Optional, Tuple

from faults import Isolation
from nodes import UNRECORDED, Node
from settings import DEAD_AFTER, HEARTBEAT, LEASE

# A node that is free again needs so long to see that its claims are gone, and to end its commands.
WAKE_S = 3.0
# Whoever takes over may have to wait for the database first.
TAKEOVER_S = 10.0
# What a node says that has lost sight of claims of its own, as when a commit's answer was lost.
OUT_OF_SIGHT = "claims of this node that it had lost"
# What a guard says that has ended the commands of a node that lives, and how long after that node has come back.
SWEPT = "guard: node {} has not renewed its lease; processes of its commands killed"
SWEEP_S = 5.0
# The journal's clock is cut to hundredths of a second, and the machine's clock may have been adjusted meanwhile.
CLOCK_S = 0.1
# Two isolations so close together are one: no heartbeat has come through between them.
CLOSE_S = HEARTBEAT * 2


class Excuses:
    def __init__(self, nodes: List[Node], isolations: List[Isolation], sessions_lost: List[float],
                 stalls: List[Tuple[float, float]]) -> None:
        self.sessions_lost = sessions_lost
        self.isolations: Dict[str, List[Isolation]] = {}
        self.incarnations: Dict[str, Tuple[Node, int]] = {}
        for number, node in enumerate(nodes):
            own = [it for it in isolations if it.node == number]
            # While the machine itself stood still nobody could do anything.
            own += [Isolation(number, "stall", began, ended) for began, ended in stalls]
            delays = [it for it in own if it.kind == "delay"]
            self.isolations[node.name] = joined([it for it in own if it.kind != "delay"]) + delays
            for node_id, pid in node.node_ids().items():
                self.incarnations[node_id] = (node, pid)

    def of_loss(self, node_id: str, at: float) -> Optional[str]:
        """Why an execution of this node may have been declared lost at a time; `None` if it should not have been."""
        if node_id not in self.incarnations:
            return None
        node, pid = self.incarnations[node_id]
        if was_killed(node, pid, at):
            return "killed"
        if self._was_silent(node_id, at, TAKEOVER_S, is_cut_enough=True):
            return "isolated"
        log = node.log_text()
        stopped = node.stopped.values() if node.is_far else [node.stopped.get(pid, at + LEASE)]
        if UNRECORDED in log and any(since <= at for since in stopped):
            return "stopped while the database was away"
        return "out of sight" if OUT_OF_SIGHT in log else None

    def of_sweep(self, node_id: str, at: float) -> bool:
        """Whether the guard of a node of the last release may have ended a command at a time.

        That guard goes on with the sweep that it has begun in the node's silence although the node has come back: what
        this begins meanwhile is ended with the rest, and counts as FAILED.
        """
        node, _ = self.incarnations.get(node_id, (None, 0))
        return (node is not None and node.is_old and SWEPT.format(node_id) in node.log_text()
                and self._was_silent(node_id, at, SWEEP_S, is_cut_enough=True))

    def of_overlap(self, node_id: str, at: float) -> bool:
        """Whether a command of this node may have been alive at a time when its claim was another's.

        A node whose session is gone at the server is taken for dead after `dead_after`, and sees that only when it
        reaches the database again. A cut or a freeze that leaves the sessions alone is no excuse: the node, or else
        its guard, ends its commands before its lease is over. Where these are all frozen together, nobody can.
        """
        return self._was_silent(node_id, at, WAKE_S, is_cut_enough=False)

    def _was_silent(self, node_id: str, at: float, after_s: float, is_cut_enough: bool) -> bool:
        """Whether a node was isolated, at a time or just before, for so long that others had to think it dead."""
        name = re.sub(r"-\d+-[0-9a-f]+$", "", node_id)
        for it in self.isolations.get(name, []):
            if not it.began <= at <= it.ended + after_s:
                continue
            if it.kind == "delay":
                # A session that the server has ended is opened again in many round trips.
                if any(it.began - DEAD_AFTER <= when <= at - DEAD_AFTER + CLOSE_S for when in self.sessions_lost):
                    return True
                continue
            is_session_lost = it.kind == "refuse" or any(it.began - 1 <= when <= at for when in self.sessions_lost)
            # Its silence is not over with the end of a cut that ends its sessions: others may look before it is heard.
            is_session_lost |= it.is_reset and at >= it.ended - CLOCK_S
            if it.kind in ("cut", "freeze") and not is_session_lost and not is_cut_enough:
                continue
            # The silence began with the last heartbeat, a little before the isolation.
            if min(at, it.ended) - it.began >= (DEAD_AFTER if is_session_lost else LEASE) - CLOSE_S:
                return True
        return False


def was_killed(node: Node, pid: int, at: float) -> bool:
    if node.is_far:
        # Its pid says nothing here; the others need no longer than this to see that it is gone.
        return any(killed <= at <= killed + DEAD_AFTER + TAKEOVER_S for killed in node.killed.values())
    return pid in node.killed and node.killed[pid] <= at + CLOCK_S


def joined(isolations: List[Isolation]) -> List[Isolation]:
    """Isolations that follow each other closely count as one, of the kind that excuses most."""
    merged: List[Isolation] = []
    weight = {"refuse": 4, "stall": 3, "freeze-all": 2, "freeze": 1, "cut": 0}
    for it in sorted(isolations, key=lambda it: it.began):
        last = merged[-1] if merged else None
        if last and it.began <= last.ended + CLOSE_S:
            kind = max(last.kind, it.kind, key=lambda kind: weight[kind])
            merged[-1] = Isolation(it.node, kind, last.began, max(last.ended, it.ended),
                                   last.is_reset or it.is_reset)
        else:
            merged.append(it)
    return merged
