"""Which types have limits, who changes them meanwhile, and what must be true of those that run and those that wait."""

from collections import defaultdict
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from database import Database
from journal import Execution, Journal
from settings import LEASE

CUSTOMERS = 6
# Between a claim and its command a node may stand still, though not for longer than its lease.
BEGINS_S_MAX = LEASE + 1
# Nobody waits for longer while there is room and nobody was let go, once all faults are healed: a second, and some on a
# machine that other tests keep busy.
WAITS_S_MAX = 2.0


class Limit(NamedTuple):
    """A limit of a type: its name in the tables, and what its document says."""
    name: str
    holds: str
    has_key: bool
    document: Dict[str, object]

    @property
    def max(self) -> int:
        return int(str(self.document["max"]))


def group(name: str, most: int, holds: str = "process") -> Limit:
    return Limit(name, holds, False, {"group": name, "max": most, "holds": holds})


def by_customer(kind: str) -> Limit:
    return Limit("type:{}:config.customer".format(kind), "process", True, {"max": 1, "key": "${config.customer}"})


GPU = group("gpu", 3, "task")
DISK = group("disk", 1, "task")
LICENSE = group("license", 3)
LIMITS: Dict[str, List[Limit]] = {
    "chain": [by_customer("chain"), GPU],
    "flaky": [GPU],
    "doomed": [by_customer("doomed")],
    "slow-chain": [LICENSE],
    # Two that are held at once.
    "fragile": [Limit("type:fragile", "process", False, {"max": 2}), LICENSE],
    "hangs-first": [DISK],
}
# Their `max` is changed meanwhile, and is in the end what the document says; that of the others is known at every moment.
CHANGED = {it.name: it.max for it in (GPU, DISK)}
CHANGED_MAX = 4


class Change(NamedTuple):
    """One request to change a limit, by the journals' clock; `done` is None if its answer was lost."""
    name: str
    most: int
    asked: float
    done: Optional[float]


def documents(kind: str) -> List[Dict[str, object]]:
    return [limit.document for limit in LIMITS.get(kind, [])]


def allowed(limit: Limit, changes: Iterable[Change], at: float) -> int:
    """The most that may have been in force when a command was claimed that began then."""
    most, since = limit.max, float("-inf")
    spans: List[Tuple[int, float, float]] = []
    for change in (it for it in changes if it.name == limit.name):
        if change.done is not None:
            spans.append((most, since, change.done))
            most, since = change.most, change.asked
        else:
            spans.append((change.most, change.asked, float("inf")))
    spans.append((most, since, float("inf")))
    return max(it for it, began, ended in spans if began <= at and ended >= at - BEGINS_S_MAX)


def beyond(kinds: Dict[str, str], customers: Dict[str, str], executions: Dict[str, List[Execution]],
           again: Iterable[str], changes: List[Change]) -> List[str]:
    """Where more began than a limit allowed: by process its type, its customer, and its commands that were not lost."""
    taken: Dict[str, List[Tuple[float, float, str]]] = defaultdict(list)
    limits: Dict[str, Limit] = {}
    many = set(again)
    for process_id, of_process in executions.items():
        commands = [(it.began, it.began if it.ended is None else it.ended) for it in of_process]
        for limit in LIMITS.get(kinds[process_id], []) if commands else []:
            entry = limit.name + ("=" + customers[process_id] if limit.has_key else "")
            limits[entry] = limit
            # Between its end and its retry a process holds nothing.
            is_one = limit.holds == "process" and process_id not in many
            spans = [(min(it[0] for it in commands), max(it[1] for it in commands))] if is_one else commands
            taken[entry] += [(began, ended, process_id) for began, ended in spans if ended > began]
    found = []
    for entry, spans in sorted(taken.items()):
        # One that ends gives way to one that begins at the same tick of the clock.
        steps = sorted([(ended, 0, it) for _, ended, it in spans] + [(began, 1, it) for began, _, it in spans])
        now: List[str] = []
        for at, is_begin, process_id in steps:
            if not is_begin:
                now.remove(process_id)
                continue
            now.append(process_id)
            most = allowed(limits[entry], changes, at)
            if len(now) > most:
                found.append("{}: {} at once at {:.2f}, and at most {} may be: {}".format(
                    entry, len(now), at, most, ", ".join(now)))
    return found


def not_lost(journal: Journal, outcomes: Dict[Tuple[int, int], str]) -> List[Execution]:
    """The commands of which the tables say how they ended. Of one that was lost nobody knows when, and it may have lived on
    where nobody could end it."""
    return [it for it in journal.executions if outcomes.get((it.index, it.attempt), "LOST") != "LOST"]


def exceeded(database: Database) -> List[str]:
    """What the trigger in events.sql has seen: slots that were taken beyond the limit as it was at that moment."""
    return ["{limit_name} {slot_key}: slot {taken} of {most} was taken by {process_id}".format(**row)
            for row in database.ask("SELECT * FROM chaos.exceeded")]


class Waiting:
    """Whoever waits for a limit that has room and that nobody takes, as it is seen again and again."""

    def __init__(self) -> None:
        self.since: Dict[Tuple[str, str], float] = {}
        self.problems: List[str] = []
        self.looks = 0

    def look(self, database: Database, now: float) -> None:
        rows = database.try_ask(
            "SELECT task_instance, held_by || ' ' || coalesce((SELECT max(n) FROM chaos.taken WHERE entry = substr(held_by, 7)), 0) "
            "AS held_by FROM process_orchestrator.scheduled_tasks s WHERE state = 'HELD' AND held_by LIKE 'limit:%' "
            "AND process_orchestrator.limit_room(substr(held_by, 7)) > 0 AND NOT EXISTS ("
            "SELECT FROM process_orchestrator.scheduled_tasks r WHERE r.state = 'READY' "
            "AND substr(s.held_by, 7) = ANY (r.limits || r.task_limits))")
        self.looks += rows is not None
        self.note([(row["task_instance"], row["held_by"]) for row in rows or []], now)

    def note(self, waiting: List[Tuple[str, str]], now: float) -> None:
        self.since = {it: self.since.get(it, now) for it in waiting}
        for it, since in self.since.items():
            if now - since > WAITS_S_MAX:
                self.problems.append("{} waits for {}, which has had room for {:.1f} s".format(*it, now - since))
                self.since[it] = float("inf")
