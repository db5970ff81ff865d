"""Reads the journals and the tables after the run and says what should not be."""

import json
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import limits
from database import Database
from excuses import CLOCK_S, Excuses
from journal import Execution, Journal, read_all
from settings import Settings
from workload import MAX_OUTPUT_BYTES, Process, is_of_schedule

Row = Dict[str, str]
# A task under which so many nodes have died is failed.
TIMES_LOST_MAX = 5
FAILURES = ("FAILED", "TIMED_OUT", "SPAWN_FAILED")


class TaskEnd(NamedTuple):
    status: str
    retry_count: int


class Verdict(NamedTuple):
    """The process's status and those of its tasks; `problems` where the trail itself cannot be."""
    status: str
    tasks: List[TaskEnd]
    problems: List[str]


def judge(process: Process, trail: Dict[int, List[Dict[str, str]]], is_cancelled: bool = False) -> Verdict:
    """What has to come of a process, by the words of the guide (src/guide/flow.md), from the outcomes of its executions.
    `trail` is the executions by task, in the order of their attempts; `is_cancelled` where a request to cancel has
    ended the process, which leaves every task CANCELLED that had not come to its end."""
    tasks: List[TaskEnd] = []
    problems: List[str] = []
    status: Optional[str] = None
    for index in range(len(process.kind.behaviours)):
        rows = trail.get(index, [])
        if status is not None:
            if rows:
                problems.append("task {} was run after the process had ended".format(index))
            tasks.append(TaskEnd("CANCELLED" if status == "CANCELLED" else "NOT_STARTED", 0))
            continue
        end = judge_task(process, index, rows, problems)
        tasks.append(end)
        if end.status == "FAILED":
            status = "FAILED"
        elif is_cancelled and end.status != "COMPLETED":
            tasks[-1] = end._replace(status="CANCELLED")
            status = "CANCELLED"
        elif end.status != "COMPLETED":
            problems.append("task {} has not come to an end: {}".format(index, [row["outcome"] for row in rows]))
            status = "unfinished"
    return Verdict(status or "COMPLETED", tasks, problems)


def judge_task(process: Process, index: int, rows: List[Dict[str, str]], problems: List[str]) -> TaskEnd:
    task = process.task(index)
    attempts = [int(row["attempt"]) for row in rows]
    if attempts != list(range(1, len(rows) + 1)):
        problems.append("the attempts of task {} are not numbered from 1 on: {}".format(index, attempts))
    status, retries, lost = "NOT_STARTED", 0, 0
    for row in rows:
        if status in ("COMPLETED", "FAILED", "CANCELLED"):
            problems.append("task {} was run again after it had ended: attempt {}".format(index, row["attempt"]))
        outcome = row["outcome"]
        if outcome == "SUCCEEDED":
            status = "COMPLETED"
        elif outcome in FAILURES:
            is_fatal = outcome == "SPAWN_FAILED" or row["exit_code"] in map(str, task.fatal_exit_codes)
            if is_fatal or retries == task.max_retries:
                status = "FAILED"
            else:
                retries += 1
        elif outcome == "LOST":
            lost += 1
            if task.on_crash == "fail" or lost >= TIMES_LOST_MAX:
                status = "FAILED"
        elif outcome == "CANCELLED":
            status = "CANCELLED"
        elif outcome != "INTERRUPTED":
            problems.append("task {} has the outcome {}, which nobody asked for".format(index, outcome))
    return TaskEnd(status, retries)


class Checker:
    def __init__(self, settings: Settings, database: Database, processes: List[Process], excuses: Excuses,
                 offset: float, cancelled: Iterable[str] = (), retried: Iterable[str] = (),
                 changes: Iterable[limits.Change] = ()) -> None:
        self.settings, self.database, self.excuses, self.offset = settings, database, excuses, offset
        self.processes = {it.process_id: it for it in processes}
        # Whoever was asked to be cancelled; some have ended before.
        self.cancelled = set(cancelled)
        # Whoever was asked to go again: of these the rows alone do not tell what has to come of them; the replay does.
        self.retried = set(retried)
        # Of the limits.
        self.changes = list(changes)
        self.violations: List[str] = []
        self.outcomes: "Counter[str]" = Counter()
        self.counts: "Counter[str]" = Counter()

    def run(self) -> None:
        journals, problems = read_all(self.settings)
        self.violations += problems
        rows = {row["process_id"]: row for row in self.database.ask("SELECT * FROM process_orchestrator.processes")}
        tasks: Dict[str, Dict[int, Row]] = defaultdict(dict)
        for row in self.database.ask("SELECT process_id, task_index, status, retry_count, attempt, extract(epoch "
                                     "FROM completed_at) AS completed FROM process_orchestrator.tasks"):
            tasks[row["process_id"]][int(row["task_index"])] = row
        trail: Dict[str, List[Row]] = defaultdict(list)
        for row in self.database.ask(
                "SELECT process_id, task_index, attempt, node_id, outcome, exit_code, output_bytes, duration_ms, "
                "length(output) AS kept, extract(epoch FROM completed_at) AS completed "
                "FROM process_orchestrator.task_executions ORDER BY process_id, task_index, attempt"):
            trail[row["process_id"]].append(row)
        self._tables(rows, trail, journals)
        for process_id, process in sorted(self.processes.items()):
            if process_id in rows:
                self._process(process, rows[process_id], tasks[process_id], trail[process_id],
                              journals.get(process_id, Journal([])))

        if self.settings.has_limits:
            self._limits(trail, journals)

    def _limits(self, trail: Dict[str, List[Row]], journals: Dict[str, Journal]) -> None:
        """Never did more run at once than there might."""
        outcomes = {process_id: {(int(row["task_index"]), int(row["attempt"])): row["outcome"] for row in rows}
                    for process_id, rows in trail.items()}
        executions = {process_id: limits.not_lost(journal, outcomes.get(process_id, {}))
                      for process_id, journal in journals.items() if process_id in self.processes}
        kinds = {it.process_id: it.kind.name for it in self.processes.values()}
        customers = {it.process_id: str(it.config.get("customer", "")) for it in self.processes.values()}
        self.violations += limits.beyond(kinds, customers, executions, self.retried, self.changes)

    def _wrong(self, process_id: str, text: str) -> None:
        self.violations.append("{}: {}".format(process_id, text))

    def _tables(self, rows: Dict[str, Row], trail: Dict[str, List[Row]], journals: Dict[str, Journal]) -> None:
        """What was started is there, and nothing else; nothing is left in the queue."""
        for process_id in sorted(set(self.processes) - set(rows)):
            self._wrong(process_id, "its start was committed, and it is not there")
        for process_id in sorted((set(rows) | set(trail) | set(journals)) - set(self.processes)):
            if is_of_schedule(process_id):
                continue
            self._wrong(process_id, "nobody has started it")
        for row in self.database.ask("SELECT task_instance, picked_by FROM process_orchestrator.scheduled_tasks"):
            self._wrong(row["task_instance"], "is left in the queue, picked by {!r}".format(row["picked_by"]))
        for row in self.database.ask("SELECT node_id, state FROM process_orchestrator.nodes "
                                     "WHERE state NOT IN ('STOPPED', 'DEAD')"):
            self.violations.append("node {} has ended and is {}".format(row["node_id"], row["state"]))

    def _process(self, process: Process, row: Row, tasks: Dict[int, Row], trail: List[Row],
                 journal: Journal) -> None:
        by_task: Dict[int, List[Row]] = defaultdict(list)
        for execution in trail:
            by_task[int(execution["task_index"])].append(execution)
            self.outcomes[execution["outcome"]] += 1
        if process.process_id not in self.retried:
            self._ending(process, row, tasks, by_task)
        self._against_journal(process, trail, journal)
        self._order(process, tasks, by_task, journal)
        self._overlaps(process, journal)

    def _ending(self, process: Process, row: Row, tasks: Dict[int, Row], by_task: Dict[int, List[Row]]) -> None:
        is_cancelled = row["status"] == "CANCELLED" and process.process_id in self.cancelled
        verdict = judge(process, by_task, is_cancelled)
        for problem in verdict.problems:
            self._wrong(process.process_id, problem)
        if row["status"] != verdict.status:
            self._wrong(process.process_id, "it is {}, and by its executions {}".format(row["status"], verdict.status))
        for index, end in enumerate(verdict.tasks):
            seen = tasks.get(index, {"status": "missing", "retry_count": "", "attempt": ""})
            expected = (end.status, str(end.retry_count), str(len(by_task[index])))
            if (seen["status"], seen["retry_count"], seen["attempt"]) != expected:
                self._wrong(process.process_id, "task {} is {}, and by its executions (status, retries, attempts) "
                            "{}".format(index, seen, expected))
        self._context(process, row, by_task)

    def _context(self, process: Process, row: Row, by_task: Dict[int, List[Row]]) -> None:
        """Each task that succeeded has passed on which attempt did it, and nobody else has."""
        expected = {"task{}".format(index): each["attempt"] for index, rows in by_task.items() for each in rows
                    if each["outcome"] == "SUCCEEDED"}
        if json.loads(row["process_context"]) != expected:
            self._wrong(process.process_id, "its context is {}, and by its executions {}".format(
                row["process_context"], json.dumps(expected)))

    def _against_journal(self, process: Process, trail: List[Row], journal: Journal) -> None:
        recorded = {(int(row["task_index"]), int(row["attempt"])): row for row in trail}
        for execution in journal.executions:
            self.counts["executions"] += 1
            key = (execution.index, execution.attempt)
            if key not in recorded:
                self._wrong(process.process_id, "{} began and is not in the audit trail".format(shown(execution)))
            elif recorded[key]["node_id"] != execution.node_id:
                self._wrong(process.process_id, "{} began on {}, and the audit trail says {}".format(
                    shown(execution), execution.node_id, recorded[key]["node_id"]))
            self._behaviour(process, execution)
        for (index, attempt), row in recorded.items():
            self._outcome(process, row, journal.of(index, attempt), (index, attempt))

    def _behaviour(self, process: Process, execution: Execution) -> None:
        """The journal program did as it was told; if not, this script is wrong, or it was started twice."""
        task = process.task(execution.index)
        if execution.code is None:
            return
        misbehaves = execution.nth <= task.times
        expected = int(task.behaviour[5:]) if misbehaves and task.behaviour.startswith("fail:") else 0
        if execution.code != expected or (misbehaves and task.behaviour == "hang"):
            self._wrong(process.process_id, "{} ended with {}, and was told {}".format(
                shown(execution), execution.code, task))

    def _outcome(self, process: Process, row: Row, begun: List[Execution], key: Tuple[int, int]) -> None:
        task, outcome = process.task(key[0]), row["outcome"]
        what = "task {}, attempt {}".format(*key)
        if len(begun) > 1:
            self._wrong(process.process_id, "{} began {} times".format(what, len(begun)))
        code = begun[0].code if begun else None
        at = float(row["completed"]) - self.offset
        if outcome in ("SUCCEEDED", "FAILED"):
            was_killed = outcome == "FAILED" and len(begun) == 1 and code is None and not row["exit_code"]
            if was_killed and self.excuses.of_sweep(row["node_id"], at):
                self.counts["swept"] += 1
            elif not begun or code is None or str(code) != row["exit_code"] or (code == 0) != (outcome == "SUCCEEDED"):
                self._wrong(process.process_id, "{} is {} with exit code {!r}, and its command {}".format(
                    what, outcome, row["exit_code"],
                    "never began" if not begun else "was killed" if code is None else "ended with {}".format(code)))
        elif outcome == "TIMED_OUT":
            if not task.has_timeout or not begun:
                self._wrong(process.process_id, "{} is TIMED_OUT, and has {}".format(
                    what, "no short timeout" if begun else "never begun"))
        elif outcome == "SPAWN_FAILED":
            if task.behaviour != "spawn" or begun:
                self._wrong(process.process_id, "{} is SPAWN_FAILED, and its program is there".format(what))
        elif outcome == "LOST":
            reason = self.excuses.of_loss(row["node_id"], at)
            self.counts["lost " + (reason or "without a reason")] += 1
            if reason is None:
                self._wrong(process.process_id, "{} is LOST, and nothing had happened to {}".format(
                    what, row["node_id"]))
        if outcome == "SUCCEEDED" and int(row["output_bytes"]) != task.bytes:
            self._wrong(process.process_id, "{} printed {} bytes, and {} were recorded".format(
                what, task.bytes, row["output_bytes"]))
        if int(row["kept"] or 0) > MAX_OUTPUT_BYTES + 200:
            self._wrong(process.process_id, "{} kept {} characters of output".format(what, row["kept"]))

    def _order(self, process: Process, tasks: Dict[int, Row], by_task: Dict[int, List[Row]],
               journal: Journal) -> None:
        """No task has begun before the success of the one before it was recorded."""
        for execution in journal.executions:
            if execution.index == 0:
                continue
            before = execution.index - 1
            succeeded = [int(row["attempt"]) for row in by_task[before] if row["outcome"] == "SUCCEEDED"]
            ends = [it.ended_place for attempt in succeeded for it in journal.of(before, attempt)]
            if not any(end is not None and end < execution.place for end in ends):
                self._wrong(process.process_id, "{} began before task {} had ended well".format(
                    shown(execution), before))
            is_first = process.process_id not in self.retried
            recorded = tasks.get(before, {}).get("completed") if is_first else None
            if recorded and execution.began + self.offset < float(recorded) - CLOCK_S:
                self._wrong(process.process_id, "{} began {:.3f} s before the success of task {} was recorded".format(
                    shown(execution), float(recorded) - execution.began - self.offset, before))

    def _overlaps(self, process: Process, journal: Journal) -> None:
        """Nobody found the lock taken, but for the moment in which a killed command's children die."""
        for place, entry in enumerate(journal.entries):
            if entry.word not in ("WAITS", "OVERLAP"):
                continue
            me = (entry.index, entry.attempt, entry.pid)
            others = [it for it in journal.unended_before(place) if (it.index, it.attempt, it.pid) != me]
            if entry.word == "WAITS":
                self.counts["waits"] += 1
                if not others:
                    self._wrong(process.process_id, "task {}, attempt {} found the lock taken, and everybody before "
                                "it had ended".format(entry.index, entry.attempt))
                continue
            # Either may be the one whose claim was another's: one that was frozen while it waited finds the new one.
            both = others[-1:] + [it for it in journal.executions if (it.index, it.attempt, it.pid) == me]
            if others and any(self.excuses.of_overlap(it.node_id, entry.at) for it in both):
                self.counts["overlaps excused"] += 1
                continue
            self._wrong(process.process_id, "task {}, attempt {} ran beside {}".format(
                entry.index, entry.attempt, [shown(it) for it in others]))


def shown(execution: Execution) -> str:
    return "task {}, attempt {} (pid {}, node {})".format(
        execution.index, execution.attempt, execution.pid, execution.node_id)
