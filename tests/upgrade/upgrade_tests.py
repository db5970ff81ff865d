"""That the upgrade's own checks see what is wrong: gaps between results, tasks of a paused type, idle nodes."""

import os
import sys
import unittest
from types import SimpleNamespace

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chaos"))

import measures  # noqa: E402
from journal import Entry, Journal  # noqa: E402
from operations import HEARD_S, PAUSED, Operators, Pause  # noqa: E402
from rolling import RollingUpgrade, Step  # noqa: E402


class UpgradeTests(unittest.TestCase):
    def test_gaps_are_those_between_commits_and_belong_to_the_times_that_they_touch(self) -> None:
        database = SimpleNamespace(ask=lambda sql: [{"at": at} for at in ("1.0", "2.0", "", "7.0", "7.5")])
        gaps = measures.gaps(database)
        self.assertEqual([gap.length for gap in gaps], [1.0, 5.0, 0.5])
        self.assertEqual(measures.longest(gaps, 3.0, 4.0), 5.0)
        self.assertEqual(measures.longest_outside(gaps, 3.0, 4.0), 1.0)
        self.assertEqual(measures.longest(gaps, 8.0, 9.0), 0.0)

    def test_a_task_that_was_begun_in_a_pause(self) -> None:
        operators = SimpleNamespace(pauses=[Pause(100.0, 110.0)])

        def broken(name: str, at: float) -> int:
            journal = Journal([Entry("START", 0, 1, 7, at, "old-x-1-7-0")])
            return len(Operators.pauses_broken(operators, {name: journal}))

        self.assertEqual(broken(PAUSED + "-1-1", 101 + HEARD_S), 1)
        self.assertEqual(broken(PAUSED + "-1-1", 99 + HEARD_S), 0, "the nodes may not have heard of it")
        self.assertEqual(broken(PAUSED + "-1-1", 110.5), 0, "it was resumed")
        self.assertEqual(broken("chain-1-1", 101 + HEARD_S), 0, "another type")

    def test_what_each_kind_has_begun_between_two_steps(self) -> None:
        steps = [Step("first", 0.0, 1.0, {"old"}), Step("second", 5.0, 6.0, {"old", "new"})]
        begun = [(2.0, "old"), (5.5, "old"), (7.0, "new"), (9.5, "old")]
        phases = RollingUpgrade.phases(SimpleNamespace(steps=steps), begun, 9.0)
        self.assertEqual([dict(phase) for phase in phases], [{"old": 1}, {"new": 1}])
        self.assertEqual(RollingUpgrade.idle(SimpleNamespace(steps=steps), phases),
                         ["no old node has begun a task after the step: second"])


if __name__ == "__main__":
    unittest.main()
