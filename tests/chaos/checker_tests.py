"""That the checker sees what is wrong: a clean record passes, and each fault put into it is named."""

import os
import sys
import tempfile
import unittest
from typing import Dict, List, Optional

sys.dont_write_bytecode = True

from checker import Checker  # noqa: E402
from excuses import SWEPT, Excuses  # noqa: E402
from faults import Isolation  # noqa: E402
from journal import Entry, Journal  # noqa: E402
from limits import BEGINS_S_MAX, GPU, WAITS_S_MAX, Change, Waiting, allowed, beyond  # noqa: E402
from settings import DEAD_AFTER, LEASE, Settings  # noqa: E402
from workload import KINDS, Process  # noqa: E402

Rows = List[Dict[str, str]]
NODE = "chaos-1-100-00000000"
BEGAN = 1000.0


class Tables:
    """Stands for the database: the tables by name."""

    def __init__(self, tables: Dict[str, Rows]) -> None:
        self.tables = tables

    def ask(self, sql: str) -> Rows:
        name = sql.split(" FROM process_orchestrator.")[-1].split()[0]
        return self.tables[name]


class OneNode:
    """Stands for a node that is near and has not been killed."""
    name, is_far, is_old, killed, stopped, log = "chaos-1", False, False, {}, {}, ""

    def node_ids(self) -> Dict[str, int]:
        return {NODE: 100}

    def log_text(self) -> str:
        return self.log


class NoExcuses:
    def of_loss(self, node_id: str, at: float) -> None:
        return None

    def of_sweep(self, node_id: str, at: float) -> bool:
        return False

    def of_overlap(self, node_id: str, at: float) -> bool:
        return False


class Record:
    """One process of three tasks that went well; tests spoil it."""

    def __init__(self, kind: str = "fragile") -> None:
        self.process = Process("p-1", next(it for it in KINDS if it.name == kind), {"times": 0, "bytes": 0, "pause": 0})
        self.processes: Rows = [{"process_id": "p-1", "status": "COMPLETED",
                                 "process_context": '{"task0": "1", "task1": "1", "task2": "1"}'}]
        self.tasks: Rows = [{"process_id": "p-1", "task_index": str(i), "status": "COMPLETED", "retry_count": "0",
                             "attempt": "1", "completed": str(BEGAN + i + 0.6)} for i in range(3)]
        self.trail: Rows = [execution(i, 1, "SUCCEEDED", "0") for i in range(3)]
        self.cancelled: List[str] = []
        self.journal = [line for i in range(3) for line in (
            "START {0} 1 {0} {1} {2}".format(i, BEGAN + i, NODE), "END {0} 1 {0} {1} 0".format(i, BEGAN + i + 0.5))]

    def violations(self) -> List[str]:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(1, 1, 1, 1, "", "", folder)
            os.mkdir(settings.journals)
            with open(os.path.join(settings.journals, "p-1"), "w") as file:
                file.writelines(line + "\n" for line in self.journal)
            tables = Tables({"processes": self.processes, "tasks": self.tasks, "task_executions": self.trail,
                             "scheduled_tasks": [], "nodes": []})
            checker = Checker(settings, tables, [self.process], NoExcuses(), 0.0, self.cancelled)
            checker.run()
        return checker.violations


def execution(index: int, attempt: int, outcome: str, exit_code: str) -> Dict[str, str]:
    return {"process_id": "p-1", "task_index": str(index), "attempt": str(attempt), "node_id": NODE,
            "outcome": outcome, "exit_code": exit_code, "output_bytes": "0", "duration_ms": "500", "kept": "",
            "completed": str(BEGAN)}


class CheckerTests(unittest.TestCase):
    def sees(self, record: Record, text: str) -> None:
        violations = record.violations()
        self.assertTrue(any(text in violation for violation in violations), violations)

    def test_a_clean_record_passes(self) -> None:
        self.assertEqual(Record().violations(), [])

    def test_an_execution_without_a_record(self) -> None:
        record = Record()
        del record.trail[2]
        self.sees(record, "is not in the audit trail")
        self.sees(record, "has not come to an end")

    def test_a_record_without_an_execution(self) -> None:
        record = Record()
        del record.journal[4:]
        self.sees(record, "its command never began")

    def test_an_execution_that_ended_otherwise_than_recorded(self) -> None:
        record = Record()
        record.journal[5] = record.journal[5][:-1] + "7"
        self.sees(record, "its command ended with 7")

    def test_an_execution_that_was_begun_twice(self) -> None:
        record = Record()
        record.journal.append("START 2 1 99 1003 " + NODE)
        self.sees(record, "began 2 times")

    def test_a_task_that_began_before_its_predecessor_had_ended(self) -> None:
        record = Record()
        record.journal[1], record.journal[2] = record.journal[2], record.journal[1]
        self.sees(record, "began before task 0 had ended well")

    def test_a_task_that_began_before_its_predecessor_was_recorded(self) -> None:
        record = Record()
        record.tasks[0]["completed"] = str(BEGAN + 1.3)
        self.sees(record, "before the success of task 0 was recorded")

    def test_two_commands_at_once(self) -> None:
        record = Record()
        record.journal[2:2] = ["START 0 2 77 1000.7 " + NODE]
        record.journal[4:4] = ["WAITS 1 1 1 1001 -", "OVERLAP 1 1 1 1002 -"]
        self.sees(record, "ran beside ['task 0, attempt 2")

    def test_a_lock_that_outlives_a_command_that_ended(self) -> None:
        record = Record()
        record.journal[3:3] = ["WAITS 1 1 1 1001 -"]
        self.sees(record, "everybody before it had ended")

    def test_a_loss_for_no_reason(self) -> None:
        record = Record()
        record.trail[2:] = [execution(2, 1, "LOST", "")]
        record.tasks[2].update(status="FAILED")
        record.processes[0].update(status="FAILED", process_context='{"task0": "1", "task1": "1"}')
        self.assertEqual(len(record.violations()), 1)
        self.sees(record, "nothing had happened to")

    def test_a_retry_that_was_spent_on_an_interruption(self) -> None:
        record = Record()
        record.trail[2:] = [execution(2, 1, "INTERRUPTED", ""), execution(2, 2, "SUCCEEDED", "0")]
        record.journal[4:] = ["START 2 1 4 1002 " + NODE, "START 2 2 5 1002.1 " + NODE, "END 2 2 5 1002.2 0"]
        record.tasks[2].update(attempt="2")
        record.processes[0].update(process_context='{"task0": "1", "task1": "1", "task2": "2"}')
        self.assertEqual(record.violations(), [])
        record.tasks[2].update(retry_count="1")
        self.sees(record, "by its executions (status, retries, attempts)")

    def test_a_task_that_ran_after_the_process_had_failed(self) -> None:
        record = Record()
        record.trail[1] = execution(1, 1, "LOST", "")
        self.sees(record, "was run after the process had ended")

    def test_a_process_that_does_not_say_what_its_executions_say(self) -> None:
        record = Record()
        record.processes[0].update(status="FAILED")
        self.sees(record, "it is FAILED, and by its executions COMPLETED")

    def test_a_context_that_was_lost(self) -> None:
        record = Record()
        record.processes[0].update(process_context='{"task0": "1"}')
        self.sees(record, "its context is")

    def test_a_process_that_was_cancelled_while_a_task_ran(self) -> None:
        record = Record()
        record.trail[1:] = [execution(1, 1, "CANCELLED", "")]
        record.journal[3:] = []
        for index in (1, 2):
            record.tasks[index].update(status="CANCELLED", attempt=str(2 - index))
        record.processes[0].update(status="CANCELLED", process_context='{"task0": "1"}')
        self.sees(record, "it is CANCELLED, and by its executions unfinished")
        record.cancelled = ["p-1"]
        self.assertEqual(record.violations(), [])
        record.trail.append(execution(2, 1, "SUCCEEDED", "0"))
        self.sees(record, "was run after the process had ended")

    def test_a_cancelled_process_that_had_ended_before(self) -> None:
        record = Record()
        record.cancelled = ["p-1"]
        self.assertEqual(record.violations(), [])
        record.processes[0].update(status="CANCELLED")
        self.sees(record, "it is CANCELLED, and by its executions COMPLETED")

    def test_commands_meet_only_where_nobody_could_end_the_old_one(self) -> None:
        def may_meet(at: float, kind: str, lasted: float, is_reset: bool = False) -> bool:
            isolation = Isolation(0, kind, BEGAN, BEGAN + lasted, is_reset)
            return Excuses([OneNode()], [isolation], [], []).of_overlap(NODE, BEGAN + at)

        self.assertFalse(may_meet(LEASE + 1, "freeze", LEASE + 2), "its guard lives")
        self.assertTrue(may_meet(LEASE + 1, "freeze-all", LEASE + 2))
        self.assertFalse(may_meet(LEASE / 2, "freeze-all", LEASE + 2), "its lease is not over")
        self.assertFalse(may_meet(LEASE - 1.9, "cut", LEASE - 2), "it keeps its claims")
        self.assertTrue(may_meet(LEASE - 1.9, "cut", LEASE - 2, is_reset=True))

    def test_a_session_that_is_lost_behind_a_long_way_takes_its_time_to_come_back(self) -> None:
        def reason(lost_at: float) -> Optional[str]:
            delay = Isolation(0, "delay", BEGAN, BEGAN + LEASE, False)
            return Excuses([OneNode()], [delay], [BEGAN + lost_at], []).of_loss(NODE, BEGAN + DEAD_AFTER + 1)

        self.assertEqual(reason(0.5), "isolated")
        self.assertIsNone(reason(DEAD_AFTER), "it has just been lost")

    def test_a_loss_right_after_a_cut_that_ended_the_sessions(self) -> None:
        def reason(at: float, lasted: float, is_reset: bool) -> Optional[str]:
            isolation = Isolation(0, "cut", BEGAN, BEGAN + lasted, is_reset)
            return Excuses([OneNode()], [isolation], [], []).of_loss(NODE, BEGAN + at)

        long = LEASE - 2
        self.assertEqual(reason(long + 0.5, long, is_reset=True), "isolated")
        self.assertIsNone(reason(long + 0.5, long, is_reset=False), "its lock is there and its lease not over")
        self.assertIsNone(reason(long - 1, long, is_reset=True), "its sessions live on until the cut ends")
        self.assertIsNone(reason(1.5, 1, is_reset=True), "it was not silent for long enough")

    def test_a_command_that_an_old_guard_ended_when_its_node_had_come_back(self) -> None:
        node = OneNode()
        excuses = Excuses([node], [Isolation(0, "cut", BEGAN, BEGAN + LEASE)], [], [])
        at = BEGAN + LEASE + 1
        self.assertFalse(excuses.of_sweep(NODE, at))
        node.log = SWEPT.format(NODE)
        self.assertFalse(excuses.of_sweep(NODE, at), "a node of this release has no excuse")
        node.is_old = True
        self.assertTrue(excuses.of_sweep(NODE, at))
        self.assertFalse(excuses.of_sweep(NODE, at + 60), "its guard has ended its sweep")

    def test_the_first_nodes_run_the_old_program(self) -> None:
        settings = Settings(1, 1, 3, 1, "new", "", "", False, "old", 2)
        self.assertEqual([settings.program_of(node) for node in range(3)], ["old", "old", "new"])
        self.assertEqual(Settings(1, 1, 3, 1, "new", "", "").program_of(0), "new")

    def test_more_at_once_than_a_limit_allows(self) -> None:
        def commands(*spans: "tuple[float, float]") -> Journal:
            lines = [[Entry("START", n, 1, n, began, NODE), Entry("END", n, 1, n, ended, "0")]
                     for n, (began, ended) in enumerate(spans)]
            return Journal([entry for both in lines for entry in both])

        def seen(kind: str, again: "List[str]", *journals: Journal) -> List[str]:
            ids = [str(n) for n in range(len(journals))]
            executions = {it: journal.executions for it, journal in zip(ids, journals)}
            return beyond({it: kind for it in ids}, {it: "c1" for it in ids}, executions, again, [])

        # A customer's processes: from the first command to the end of the last.
        self.assertEqual(seen("doomed", [], commands((1, 2), (4, 5)), commands((5, 6))), [])
        self.assertEqual(len(seen("doomed", [], commands((1, 2), (4, 5)), commands((3, 3.5)))), 1)
        self.assertEqual(seen("doomed", ["0"], commands((1, 2), (4, 5)), commands((3, 3.5))), [], "it went again")
        # A group's commands.
        three = [commands((1, 2), (4, 5)) for _ in range(3)]
        self.assertEqual(seen("flaky", [], *three, commands((2, 4))), [])
        self.assertEqual(len(seen("flaky", [], *three, commands((4.5, 6)))), 1)
        self.assertEqual(len(seen("chain", [], *three)), 2, "a customer's, and not the group's")

    def test_the_max_that_was_in_force(self) -> None:
        changes = [Change("gpu", 1, 100, 101), Change("gpu", 4, 200, None), Change("disk", 9, 0, 0)]
        at = [50, 100 + BEGINS_S_MAX, 102 + BEGINS_S_MAX, 199, 201, 300]
        self.assertEqual([allowed(GPU, changes, it) for it in at], [3, 3, 1, 1, 4, 4])

    def test_one_that_waits_although_there_is_room(self) -> None:
        waiting = Waiting()
        one, other = ("p-1", "limit:gpu"), ("p-2", "limit:gpu")
        for now, seen in [(0.0, [one]), (WAITS_S_MAX / 2, [other]), (WAITS_S_MAX + 1, [one])]:
            waiting.note(seen, now)
        self.assertEqual(waiting.problems, [], "each was seen for a moment")
        waiting.note([one], 2 * WAITS_S_MAX + 2)
        waiting.note([one], 2 * WAITS_S_MAX + 3)
        self.assertEqual(len(waiting.problems), 1)

    def test_a_start_that_was_lost(self) -> None:
        record = Record()
        record.processes.clear()
        self.sees(record, "its start was committed, and it is not there")


if __name__ == "__main__":
    unittest.main()
