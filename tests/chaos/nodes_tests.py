"""That a node is stopped and frozen as the schedule says, also where process 1 attends to it: with a program that
stands for the real one, of a few lines of shell."""

import os
import sys
import tempfile
import threading
import time
import unittest
from types import SimpleNamespace
from typing import List

sys.dont_write_bytecode = True

from nodes import Node  # noqa: E402
from processes import can_be_far, children_of, read, words_of  # noqa: E402
from settings import Settings, uptime  # noqa: E402

# Process 1 waits for signals and hands them on, as the program does; the node has one command, in a session of its own.
SERVE = """
attend() { kill -s TERM $!; wait $!; exit; }
if [ "$$" = 1 ] && [ "$1" = --no-http ]; then
    "$PROGRAM" serve &
    trap attend TERM
    wait $!
    exit
fi
trap 'kill -s KILL $!; exit 0' TERM
PROCESS_ORCHESTRATOR_NODE=$NAME-1-0 setsid sleep 600 &
wait
"""
AT_ONCE_S = 10


class NodeTests(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        # A shell under another name, whose first word is the script to run.
        program = os.path.join(self.folder.name, "program")
        settings = Settings(1, 1, 1, 1, program, "", self.folder.name)
        os.mkdir(settings.logs)
        os.symlink("/bin/sh", program)
        with open(os.path.join(self.folder.name, "serve"), "w") as file:
            file.write(SERVE)
        before = os.getcwd()
        os.chdir(self.folder.name)
        self.addCleanup(os.chdir, before)
        name = "test-" + os.path.basename(self.folder.name)
        os.environ.update(PROGRAM=program, NAME=name)
        self.node = Node(settings, name, SimpleNamespace(port=0), can_be_far(), False)
        self.addCleanup(self.node.kill)
        self.node.start()

    def family(self) -> List[int]:
        """Process 1 if there is one, the node, its command; waits until they are there."""
        deadline = uptime() + AT_ONCE_S
        while uptime() < deadline:
            family = [self.node.process.pid]
            while children_of(family[-1]):
                family.append(children_of(family[-1])[0])
            if words_of(family[-1])[:1] == [b"sleep"]:
                return family[1:] if self.node.is_far else family
            time.sleep(0.02)
        self.fail("the node has not begun its command: {}".format(self.node.log_text()))

    def become(self, pids: List[int], expected: str) -> None:
        """Waits until each is stopped (T) or not (.), which takes the kernel a moment."""
        deadline = uptime() + AT_ONCE_S
        states = ""
        while states != expected and uptime() < deadline:
            fields = [read(pid, "stat").rsplit(b")", 1)[-1].split() for pid in pids]
            states = "".join("T" if it[:1] == [b"T"] else "." for it in fields)
        self.assertEqual(states, expected)

    def test_a_stop_ends_the_node_at_once_and_in_order(self) -> None:
        self.family()
        began = uptime()
        self.assertTrue(self.node.stop())
        self.assertLess(uptime() - began, AT_ONCE_S)
        self.assertEqual((self.node.problems, self.node.process), ([], None))
        self.assertFalse(self.node.stop(), "there was nobody left to stop")

    def test_a_stop_of_a_frozen_node_leaves_its_lock_to_the_thaw(self) -> None:
        *_, node, _ = self.family()
        self.assertTrue(self.node.freeze(False))
        stop = threading.Thread(target=self.node.stop)
        stop.start()
        time.sleep(0.5)
        began = uptime()
        self.node.thaw()
        stop.join(AT_ONCE_S)
        self.assertFalse(stop.is_alive())
        self.assertLess(uptime() - began, AT_ONCE_S)
        self.assertEqual(self.node.problems, [])

    def test_a_freeze_stops_the_node_itself_and_nothing_else(self) -> None:
        family = self.family()
        self.assertTrue(self.node.freeze(False))
        self.become(family, "T.".rjust(len(family), "."))
        self.node.thaw()
        self.become(family, "." * len(family))

    def test_a_freeze_of_all_stops_all_that_is_the_nodes(self) -> None:
        family = self.family()
        self.assertTrue(self.node.freeze(True))
        self.become(family, "T" * len(family))
        self.node.thaw()
        self.become(family, "." * len(family))

    def test_a_kill_of_a_node_that_is_frozen_leaves_nobody(self) -> None:
        self.family()
        self.node.freeze(True)
        self.assertTrue(self.node.kill())
        self.assertFalse(self.node.freeze(False), "there was nobody left to freeze")


if __name__ == "__main__":
    unittest.main()
