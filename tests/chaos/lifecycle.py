"""What has to come of a process, by the words of the guide (src/guide/flow.md), from the outcomes of its executions."""

from typing import Dict, List, NamedTuple, Optional

from workload import Process

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
    """`trail` is the executions by task, in the order of their attempts; `is_cancelled` where a request to cancel has
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
