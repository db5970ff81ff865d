"""The faults: a schedule that follows from the seed, and how each is done."""

import random
import threading
import time
from collections import Counter
from typing import Callable, Dict, List, NamedTuple, Optional

from database import Database, DatabaseError
from nodes import Node
from settings import DEAD_AFTER, LEASE, ChaosError, Settings, uptime


class Fault(NamedTuple):
    """One fault: when it begins, at which node (-1: the database), how long it lasts, and a detail."""
    at: float
    kind: str
    node: int
    lasts: float
    detail: str = ""

    def __str__(self) -> str:
        where = "database" if self.node < 0 else "node {}".format(self.node + 1)
        return "{:7.2f} s {} {} {:.2f} s {}".format(self.at, where, self.kind, self.lasts, self.detail).rstrip()


# How often each kind comes, how long it lasts, and what else there is to say of it.
KINDS: Dict[str, "tuple[int, float, float, List[str]]"] = {
    "kill": (16, 0.0, 3.0, [""]),
    "stop": (8, 0.0, 2.0, ["", "", "twice"]),
    "freeze": (10, 0.2, DEAD_AFTER * 0.8, [""]),
    "freeze-past-dead-after": (4, DEAD_AFTER * 1.2, LEASE * 0.8, [""]),
    "freeze-past-lease": (5, LEASE * 1.1, LEASE * 1.4, [""]),
    # As when a machine or a container is suspended: neither the node nor its guard can end its commands.
    "freeze-all": (4, 0.2, DEAD_AFTER * 1.6, [""]),
    "freeze-all-past-lease": (3, LEASE * 1.1, LEASE * 1.4, [""]),
    "cut": (10, 0.2, DEAD_AFTER, ["both", "out", "in"]),
    "cut-past-fencing": (6, LEASE * 0.7, LEASE * 0.95, ["both", "out", "in"]),
    "cut-past-lease": (8, LEASE * 1.2, LEASE * 1.6, ["both", "out", "in"]),
    "refuse": (5, 0.1, DEAD_AFTER * 1.6, [""]),
    "delay": (5, 1.0, 4.0, ["0.02", "0.1", "0.2"]),
    "restart-fast": (6, 0.0, 0.0, [""]),
    "restart-immediate": (6, 0.0, 0.0, [""]),
    "terminate": (8, 0.2, 1.5, ["1.0", "0.5", "0.2"]),
}
OF_DATABASE = ("restart-fast", "restart-immediate", "terminate")
# Nodes are left alone this long between two faults of their own, so that some of them work at any time.
NODE_PAUSE = 1.5
# Whoever is cut off or frozen while the database ends its session may be taken for dead soon; without that nobody
# may for the whole of the lease. Both have to happen.
DATABASE_PAUSE = 6.0
GAP_MEAN = 0.5
# How long faults may go on after the last that begins.
TAIL = 2.0
# A stop takes STOP_S_MAX and the pause before the next start, a restart of the database its own time.
FAULT_S_MAX = 200
# How much longer than the schedule says a loaded machine takes to heal the last of them. A fault that takes longer was
# not what it says, or kept the ones after it waiting.
LATE_S_MAX = 30


def plan(settings: Settings) -> List[Fault]:
    chance = random.Random("faults {}".format(settings.seed))
    free = [0.0] * settings.nodes
    database_free = 0.0
    faults: List[Fault] = []
    at = 1.5  # The nodes have something to do by then.
    while True:
        at += chance.expovariate(1 / GAP_MEAN)
        if at >= settings.seconds:
            return faults
        kind = chance.choices(list(KINDS), [weight for weight, _, _, _ in KINDS.values()])[0]
        _, least, most, details = KINDS[kind]
        lasts, detail = chance.uniform(least, most), chance.choice(details)
        if kind.startswith("cut"):
            detail += chance.choice([" resume", " reset"])
        if at + lasts > settings.seconds + TAIL:
            continue
        if kind in OF_DATABASE:
            if at >= database_free:
                faults.append(Fault(at, kind, -1, lasts, detail))
                database_free = at + lasts + DATABASE_PAUSE
            continue
        node = chance.randrange(settings.nodes)
        if at >= free[node]:
            faults.append(Fault(at, kind, node, lasts, detail))
            free[node] = at + lasts + NODE_PAUSE


class Isolation(NamedTuple):
    """A time, by the journals' clock, in which a node could not do its duty; `kind` is what excuses.py knows."""
    node: int
    kind: str
    began: float
    ended: float
    # Its connections were ended with the isolation, and with them its sessions and their locks.
    is_reset: bool = False


class Injector:
    """Carries the schedule out, each fault on a thread of its own, and keeps account of what happened when."""

    def __init__(self, settings: Settings, database: Database, nodes: List[Node], faults: List[Fault]) -> None:
        self.settings, self.database, self.nodes, self.faults = settings, database, nodes, faults
        self.injected: "Counter[str]" = Counter()
        self.isolations: List[Isolation] = []
        # Times at which sessions were ended at the server, with the nodes' locks.
        self.sessions_lost: List[float] = []
        self.problems: List[str] = []
        self.account = threading.Lock()
        self.threads: List[threading.Thread] = []
        self.began = self.took = 0.0
        self.log = open(settings.folder + "/faults.log", "w")

    def begin(self) -> None:
        self.began = time.monotonic()
        thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self.threads.append(thread)
        thread.start()

    def end(self) -> None:
        """Waits until every fault is healed."""
        for thread in self.threads[:1]:
            thread.join()
        for thread in self.threads[1:]:
            thread.join(FAULT_S_MAX)
            if thread.is_alive():
                raise ChaosError("the fault {} has not come to an end".format(thread.name))
        self.took = time.monotonic() - self.began
        due = max((fault.at + fault.lasts for fault in self.faults), default=0.0)
        if self.took > due + LATE_S_MAX:
            self.problems.append("the faults took {:.0f} s, and were to take {:.0f} s".format(self.took, due))

    def _run(self) -> None:
        began = self.began
        for fault in self.faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            thread = threading.Thread(target=self._inject, args=(fault,), name=str(fault), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _inject(self, fault: Fault) -> None:
        self._note("begins", fault)
        try:
            if fault.node < 0:
                happened = self._at_database(fault)
            else:
                happened = self._at_node(fault, self.nodes[fault.node])
        except (ChaosError, DatabaseError, OSError) as error:
            self.problems.append("{}: {}".format(fault, error))
            return
        if happened:
            with self.account:
                self.injected[fault.kind] += 1
        self._note("healed" if happened else "had nothing to do", fault)

    def _note(self, what: str, fault: Fault) -> None:
        with self.account:
            self.log.write("{:.2f} {}: {}\n".format(uptime(), what, fault))
            self.log.flush()

    def _at_database(self, fault: Fault) -> bool:
        self._lose_sessions()
        if fault.kind == "terminate":
            rounds = max(1, round(fault.lasts / 0.05))
            try:
                self.database.terminate_sessions(rounds, 0.05, float(fault.detail), round(fault.at * 1000))
            except DatabaseError:
                # Its own session was ended by a restart.
                pass
        else:
            self.database.restart(fault.kind.split("-")[1])
        self._lose_sessions()
        return True

    def _lose_sessions(self) -> None:
        with self.account:
            self.sessions_lost.append(uptime())

    def _at_node(self, fault: Fault, node: Node) -> bool:
        if fault.kind == "kill":
            return self._and_start_again(node, fault.lasts, node.kill())
        if fault.kind == "stop":
            was_there = node.stop(hurry_after=0.2 if fault.detail == "twice" else None)
            return self._and_start_again(node, fault.lasts, was_there)
        if fault.kind == "delay":
            began = uptime()
            node.proxy.slow_down(float(fault.detail))
            time.sleep(fault.lasts)
            node.proxy.slow_down(0.0)
            with self.account:
                self.isolations.append(Isolation(fault.node, "delay", began, uptime(), False))
            return True
        return self._isolate(fault, node)

    def _and_start_again(self, node: Node, after: float, was_there: bool) -> bool:
        time.sleep(after)
        node.start()
        return was_there

    def _isolate(self, fault: Fault, node: Node) -> bool:
        begin: Callable[[], Optional[bool]]
        kind = "freeze-all" if fault.kind.startswith("freeze-all") else fault.kind.split("-")[0]
        if kind in ("freeze", "freeze-all"):
            begin, finish = (lambda: node.freeze(kind == "freeze-all")), node.thaw
        elif fault.kind.startswith("cut"):
            ways, heal = fault.detail.split()
            begin, finish = (lambda: node.proxy.cut(ways)), (lambda: node.proxy.heal(heal == "reset"))
        else:
            begin, finish = node.proxy.refuse, node.proxy.admit
        began = uptime()
        happened = begin() is not False
        time.sleep(fault.lasts)
        finish()
        with self.account:
            self.isolations.append(Isolation(fault.node, kind, began, uptime(), fault.detail.endswith("reset")))
        return happened
