"""All that happened in the database and to the commands, in one order, for the replay through the rules.

One line of JSON for each event, in the order of what happened: `t` in seconds since the run began, by the commit where
it is one of the database; `n` and `tx` are its first change's number and its transaction there, `session` who did it,
`asked` when: what the statement saw is no older. tests/it/protocol/replay.rs reads them.

  settings  dead_after of the nodes
  join      a node has registered (`is_old`: of the last release); also stopping, stopped, declare (dead), rejoin,
            forget. A declaration tells how long the node was silent, whether it had a lock, for how long the lock's
            session is there (null: the lock is gone), and whether the node's program had ended
  start     of a process; retry (it goes again), claim, release, record, lost (recorded for a node that died), cancel
            (wanted), cancelled (nobody held it), move (from one state of the queue to another); unknown: a change
            that no statement of ours makes
  begin     of a command, by itself; end, with its exit code; overlap: it found another one of its process alive
  finish    all nodes have ended, and nothing follows

Those of a process carry what changed in its rows: `queue` (null: it has left the queue), `status`, `at` (the current
task) and `tasks`. A `begin` or an `overlap` may carry an `excuse`: what was done to its node that nobody could help
(excuses.py).
"""

import json
import os
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from database import Database
from excuses import Excuses
from journal import Journal
from nodes import Node
from settings import DEAD_AFTER, Settings, uptime

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "events.sql")
# The commands' clock shows hundredths of a second; what it shows is past. The two clocks run apart a little.
BLUR_S = 0.015
SLEW_S = 0.005
TICKS = 20
# When a node's program has ended is seen a little later.
SEEN_S = 2.0
# Where in one moment an event stands: what a command did, what was committed, and what that let begin.
BEFORE, COMMIT, AFTER = range(3)

Event = Dict[str, object]
Place = Tuple[float, int, int]


class Change(NamedTuple):
    """One change of a row."""
    n: int
    tx: int
    at: float
    asked: float
    session: str
    relation: str
    process: str
    old: Optional[dict]
    new: Optional[dict]


def install(database: Database) -> None:
    """The tables are there, and nobody uses them yet."""
    with open(SQL) as file:
        database.execute(file.read())


def exact_offset() -> float:
    """As wall_offset, to a fraction of a millisecond: when the clock moves on, by the look that was least late."""
    return min(offset_at_tick() for _ in range(TICKS))


def offset_at_tick() -> float:
    before = now = uptime()
    while now == before:
        now = uptime()
    return time.time() - now


def export(settings: Settings, database: Database, nodes: List[Node], journals: Dict[str, Journal],
           excuses: Excuses, offset: float, began: float) -> None:
    """`offset` is from the commands' clock to the wall's, which also shows `began`."""
    placed = list(of_database(read_changes(database), nodes, offset))
    commits: Dict[Tuple[str, int, int], List[Tuple[Place, Event]]] = {}
    for place, event in placed:
        for key in executions_of(event):
            commits.setdefault(key, []).append((place, event))
    for process, journal in journals.items():
        placed += of_commands(process, journal, commits, excuses, offset)
    placed.sort(key=lambda it: it[0])
    with open(settings.events, "w") as file:
        file.write(line({"event": "settings", "dead_after": DEAD_AFTER}))
        for (at, _, _), event in placed:
            if "asked" in event:
                event = {**event, "asked": round(event["asked"] - began, 6)}
            if event.get("queue"):
                event = {**event, "queue": {**event["queue"], "due": round(event["queue"]["due"] - began, 6)}}
            file.write(line({"t": round(at - began, 6), **event}))
        file.write(line({"event": "finish"}))


def line(event: Event) -> str:
    return json.dumps(event, separators=(",", ":")) + "\n"


def read_changes(database: Database) -> List[Change]:
    rows = database.ask(
        "SELECT n, tx, extract(epoch FROM pg_xact_commit_timestamp(xmin)) AS at, extract(epoch FROM asked) AS asked, "
        "session, relation, process, old, new FROM chaos.changes ORDER BY n")
    return [Change(int(row["n"]), int(row["tx"]), float(row["at"]), float(row["asked"]), row["session"],
                   row["relation"], row["process"], json.loads(row["old"] or "null"),
                   json.loads(row["new"] or "null")) for row in rows]


def of_database(changes: List[Change], nodes: List[Node], offset: float) -> Iterator[Tuple[Place, Event]]:
    """Transactions as they were committed. Two that have changed the same row are in that order by their last change,
    should the clock show the same for both."""
    joined = {it.new["node"]: it.at for it in changes if it.relation == "node" and it.old is None}
    places = {node_id: node for node in nodes for node_id in node.node_ids()}

    def has_ended(node_id: str, by: float) -> bool:
        ends = places[node_id].ended if node_id in places else []
        return any(joined[node_id] <= end + offset <= by + SEEN_S for end in ends)

    transactions: Dict[int, List[Change]] = {}
    for change in changes:
        transactions.setdefault(change.tx, []).append(change)
    for own in transactions.values():
        place = (own[0].at, COMMIT, own[-1].n)
        by_process: Dict[str, List[Change]] = {}
        for change in own:
            if change.relation == "node":
                event = of_node(change, has_ended)
                if event["event"] == "join" and is_older(places.get(event["node"])):
                    event["is_old"] = True
                yield place, {**head(change), **event}
            else:
                by_process.setdefault(change.process, []).append(change)
        for process, rows in by_process.items():
            for event in of_process(rows):
                yield place, {**head(rows[0]), **event}


def head(change: Change) -> Event:
    return {"n": change.n, "tx": change.tx, "asked": change.asked, "session": change.session}


def is_older(node: Optional[Node]) -> bool:
    return node is not None and node.is_old and not os.path.samefile(node.program, node.settings.binary)


def of_node(change: Change, has_ended: Callable[[str, float], bool]) -> Event:
    old, new = change.old, change.new
    if new is None:
        return {"event": "forget", "node": old["node"], "state": old["state"]}
    if old is None:
        return {"event": "join", "node": new["node"], "lease": new["lease"]}
    words = {("RUNNING", "STOPPING"): "stopping", ("RUNNING", "STOPPED"): "stopped", ("STOPPING", "STOPPED"): "stopped",
             ("RUNNING", "DEAD"): "declare", ("STOPPING", "DEAD"): "declare", ("DEAD", "RUNNING"): "rejoin"}
    event: Event = {"event": words.get((old["state"], new["state"]), "unknown"), "node": new["node"]}
    if event["event"] == "unknown":
        event.update(old=old, new=new)
    if event["event"] == "declare":
        event.update({name: old[name] for name in ("silence", "had_lock", "locked")},
                     gone=has_ended(new["node"], change.at))
    return event


def of_process(rows: List[Change]) -> List[Event]:
    """What one transaction did to one process: one statement's work, or a cancel and the end it brings. What is done to one that
    the same transaction has let go, from the line of a limit or from its claim, is a step of its own."""
    first = rows[0]
    later = [at for at, it in enumerate(rows) if it.relation == "queue" and it.old and it.new and it.old["node"] is None
             and not is_wish(it) and any(before.relation == "queue" for before in rows[:at])]
    if later:
        return [*of_process(rows[:later[0]]), *of_process(rows[later[0]:])]
    queue = [it for it in rows if it.relation == "queue"]
    execution = next((it.new for it in rows if it.relation == "execution"), None)
    event: Event = {"event": "unknown", "process": first.process}
    events = [event]
    if execution:
        event.update(event="lost" if execution["outcome"] == "LOST" else "record", **execution)
    elif len(queue) == 2 and is_wish(queue[0]) and queue[1].new is None:
        event.update(event="cancelled")
        events.insert(0, {"event": "cancel", "process": first.process, "queue": queue[0].new})
        rows = [it for it in rows if it is not queue[0]]
    elif len(queue) == 1:
        event.update(of_queue(queue[0], rows))
    return [*events[:-1], {**event, **changed(rows)}]


def is_wish(change: Change) -> bool:
    return bool(change.old and change.new and not change.old["cancel"] and change.new["cancel"]
                and change.old["node"] == change.new["node"] and change.old["version"] == change.new["version"])


def of_queue(change: Change, rows: List[Change]) -> Event:
    old, new = change.old, change.new
    task = next((it.new for it in rows if it.relation == "task"), None)
    if old is None:
        if any(it.relation == "process" and it.old is None for it in rows):
            tasks = [it.new for it in rows if it.relation == "task"]
            return {"event": "start", "type": next(it.new["type"] for it in rows if it.relation == "process"),
                    "definitions": [{name: it[name] for name in ("max_retries", "on_crash", "fatal")}
                                    for it in sorted(tasks, key=lambda it: it["task"])]}
        return {"event": "retry"}
    if new is None:
        status = next((it.new["status"] for it in rows if it.relation == "process"), None)
        return {"event": "cancelled"} if status == "CANCELLED" else {}
    if old["node"] is None and new["node"] is not None and task:
        return {"event": "claim", "node": new["node"], "task": task["task"], "attempt": task["attempt"]}
    if old["node"] is not None and new["node"] is None and task:
        return {"event": "release", "node": old["node"], "task": task["task"]}
    if is_wish(change):
        return {"event": "cancel"}
    if len(rows) == 1 and old["node"] == new["node"] and old["version"] == new["version"]:
        return {"event": "move", "from": old["state"]}
    return {}


def changed(rows: List[Change]) -> Event:
    """What is in the process's rows now, where it was something else before."""
    event: Event = {}
    tasks = {}
    for it in rows:
        if it.relation == "queue":
            event["queue"] = it.new
        elif it.relation == "process":
            event.update(status=it.new["status"], at=it.new["task"])
        elif it.relation == "task":
            tasks[it.new["task"]] = {name: it.new[name] for name in ("task", "status", "attempt", "retries")}
    if tasks:
        event["tasks"] = [tasks[index] for index in sorted(tasks)]
    return event


def executions_of(event: Event) -> List[Tuple[str, int, int]]:
    """The executions that an event lets begin, or records."""
    if event["event"] not in ("claim", "record", "lost"):
        return []
    found = [(event["process"], it["task"], it["attempt"]) for it in event.get("tasks", ())
             if it["status"] == "IN_PROGRESS"]
    return found + ([] if event["event"] == "claim" else [(event["process"], event["task"], event["attempt"])])


def of_commands(process: str, journal: Journal, commits: Dict[Tuple[str, int, int], List[Tuple[Place, Event]]],
                excuses: Excuses, offset: float) -> Iterator[Tuple[Place, Event]]:
    """The lines of one process's journal, each at the place that its clock and the order of the lines allow."""
    nodes = {(it.index, it.attempt, it.pid): it.node_id for it in journal.executions}
    last: Place = (0.0, BEFORE, 0)
    for number, entry in enumerate(journal.entries):
        word = {"START": "begin", "END": "end", "OVERLAP": "overlap"}.get(entry.word)
        if word is None:
            continue
        at, rank = entry.at + offset, BEFORE
        node = nodes.get((entry.index, entry.attempt, entry.pid), "")
        event: Event = {"event": word, "process": process, "node": node, "task": entry.index,
                        "attempt": entry.attempt, "pid": entry.pid}
        if word == "end":
            event["code"] = int(entry.detail)
        else:
            # Either of two that meet may be the one whose claim was another's.
            others = [it for it in journal.unended_before(number)
                      if word == "overlap" and (it.index, it.attempt, it.pid) != entry[1:4]]
            if any(excuses.of_overlap(it, entry.at) for it in [node, *(it.node_id for it in others[-1:])]):
                event["excuse"] = "isolated"
        for (commit, _, _), what in commits.get((process, entry.index, entry.attempt), ()):
            if word == "begin" and is_let(what, entry.index, entry.attempt) and at <= commit < at + BLUR_S:
                at, rank = commit, AFTER
            elif not is_let(what, entry.index, entry.attempt) and at - SLEW_S < commit < at:
                at = commit
        last = max(last, (at, rank, number))
        yield (last[0], last[1], number), event


def is_let(event: Event, task: int, attempt: int) -> bool:
    """Whether it lets this execution begin."""
    return any((it["task"], it["attempt"], it["status"]) == (task, attempt, "IN_PROGRESS")
               for it in event.get("tasks", ()))
