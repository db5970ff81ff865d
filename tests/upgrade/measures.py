"""What is measured: when results were committed, and whether the queue's rows are consistent."""

import subprocess
import threading
import time
from typing import Dict, List, NamedTuple

from database import Database, DatabaseError

# What must hold for every row at every moment; `state` exists from schema version 7 on.
HAS_STATE = ("SELECT attname FROM pg_attribute WHERE attrelid = 'process_orchestrator.scheduled_tasks'::regclass "
             "AND attname = 'state' AND NOT attisdropped")
INCONSISTENT = """
    SELECT task_instance, state, picked, picked_by, held_by, reserved_for, execution_time, now() AS now
    FROM process_orchestrator.scheduled_tasks
    WHERE state IS NULL OR (state = 'CLAIMED') <> picked OR picked <> (picked_by IS NOT NULL)
        OR (state = 'HELD') <> (held_by IS NOT NULL)
        OR reserved_for IS NOT NULL AND state NOT IN ('HELD', 'CLAIMED')
        OR state = 'READY' AND execution_time > now()
    LIMIT 5"""
LOOK_S = 0.5
# A task's output is that of the execution it has ended with, and as long as what was printed or what may be kept,
# wherever it was moved.
AMISS = """
    SELECT t.process_id, t.task_index, e.attempt, e.node_id, e.output_bytes, length(e.output) AS kept, length(t.output) AS told
    FROM process_orchestrator.tasks t JOIN process_orchestrator.task_executions e
        ON e.process_id = t.process_id AND e.task_index = t.task_index AND e.attempt = t.attempt
    WHERE t.status IN ('COMPLETED', 'FAILED')
        AND (t.output IS DISTINCT FROM e.output OR coalesce(octet_length(e.output), 0) < least(e.output_bytes, t.max_output_bytes))
    LIMIT 5"""


class Gap(NamedTuple):
    """A time between two commits of results, by the wall clock."""
    began: float
    ended: float

    @property
    def length(self) -> float:
        return self.ended - self.began


def gaps(database: Database) -> List[Gap]:
    rows = database.ask("SELECT DISTINCT extract(epoch FROM pg_xact_commit_timestamp(xmin)) AS at "
                        "FROM process_orchestrator.task_executions ORDER BY 1")
    times = [float(row["at"]) for row in rows if row["at"]]
    return [Gap(*pair) for pair in zip(times, times[1:])]


def longest(among: List[Gap], began: float, ended: float) -> float:
    """The longest of those that touch a time."""
    return max((it.length for it in among if it.ended >= began and it.began <= ended), default=0.0)


def longest_outside(among: List[Gap], began: float, ended: float) -> float:
    return max((it.length for it in among if it.ended < began or it.began > ended), default=0.0)


class Watcher:
    """Looks at the queue's rows again and again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.looks = 0
        self.problems: List[str] = []
        self.is_watching = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def begin(self) -> None:
        self.is_watching.set()
        self.thread.start()

    def end(self) -> None:
        self.is_watching.clear()
        self.thread.join()

    def _run(self) -> None:
        while self.is_watching.is_set():
            try:
                if self.database.ask(HAS_STATE):
                    self.problems += inconsistent(self.database)
                    self.looks += 1
            except (DatabaseError, subprocess.SubprocessError) as error:
                self.problems.append("the queue was not to be looked at: {}".format(error))
            time.sleep(LOOK_S)


def inconsistent(database: Database) -> List[str]:
    return ["a row of the queue is inconsistent: {}".format(dict(row)) for row in database.ask(INCONSISTENT)]


def outputs_amiss(database: Database) -> List[str]:
    return ["the output of a task is not what it printed: {}".format(dict(row)) for row in database.ask(AMISS)]


def eras(database: Database) -> Dict[str, int]:
    """How many processes lie in eras of each kind, and how many eras are closed."""
    rows = database.ask("SELECT kind, count(*) AS n FROM process_orchestrator.processes JOIN process_orchestrator.eras "
                        "USING (era) GROUP BY kind UNION ALL SELECT 'closed eras', count(closed_at) "
                        "FROM process_orchestrator.eras ORDER BY 1")
    return {row["kind"]: int(row["n"]) for row in rows}


def states(database: Database) -> Dict[str, int]:
    """How many rows wait in each state; none where the schema has no states."""
    if not database.ask(HAS_STATE):
        return {}
    rows = database.ask("SELECT state, count(*) AS n FROM process_orchestrator.scheduled_tasks GROUP BY state")
    return {row["state"]: int(row["n"]) for row in rows}
