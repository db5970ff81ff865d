"""The upgrade, step by step, and the verdict."""

import sys
import time
from collections import Counter
from typing import Callable, Dict, List, NamedTuple, Set, Tuple

import measures
from checker import Checker
from excuses import Excuses
from faults import Fault
from journal import read_all
from nodes import Node
from operations import Operators
from run import Run, VIOLATIONS_SHOWN_MAX, listed
from settings import Settings, uptime, wall_offset

# How long a killed node stays away.
AWAY_S = 1.0


class Step(NamedTuple):
    """One step, by the journals' clock, and the kinds of nodes that are to work from then on."""
    name: str
    began: float
    ended: float
    kinds: Set[str]


class RollingUpgrade(Run):
    """Two nodes of each release; the second of each kind is far from the others."""

    def __init__(self, settings: Settings) -> None:
        # The last release's nodes register the types first.
        super().__init__(settings._replace(has_limits=False))
        self.operators = Operators(settings, self.database, [settings.old_program])
        self.watcher = measures.Watcher(self.database)
        self.starter.programs = [settings.old_program]
        self.steps: List[Step] = []

    def plan_faults(self) -> List[Fault]:
        return []

    def name_of(self, number: int, tag: str) -> str:
        kind = "old" if number < self.settings.old_nodes else "new"
        return "{}-{}-{}".format(kind, tag, number % 2 + 1)

    def is_far(self, number: int) -> bool:
        return number % 2 == 1

    def _plan(self) -> List[Tuple[float, str, Callable[[], None]]]:
        """The steps, each with the part of the time after which it begins."""
        old, old_far, new, new_far = self.nodes
        return [
            (0.00, "start two old nodes", lambda: self._start(old, old_far)),
            (0.12, "migrate with the new program", self._migrate),
            (0.22, "start two new nodes", lambda: self._start(new, new_far)),
            (0.32, "kill -9 of an old node", lambda: self._kill(old)),
            (0.42, "kill -9 of a new node", lambda: self._kill(new)),
            (0.52, "restart the other old node", lambda: self._restart(old_far)),
            (0.62, "restart the other new node", lambda: self._restart(new_far)),
            (0.72, "stop the first old node", lambda: self._stop(old)),
            (0.80, "stop the last old node", lambda: self._stop(old_far)),
        ]

    def carry_out(self) -> List[str]:
        self.database.start()
        offset = wall_offset()
        self.prepare(self.settings.old_program)
        self.is_tending.set()
        self.tender.start()
        began = time.monotonic()
        self.starter.begin()
        self.operators.begin()
        self.watcher.begin()
        for part, name, action in self._plan():
            time.sleep(max(0.0, began + part * self.settings.seconds - time.monotonic()))
            self._say(name)
            at = uptime()
            action()
            kinds = {node.name[:3] for node in self.nodes if node.is_wanted}
            self.steps.append(Step(name, at, uptime(), kinds))
        self.starter.end()
        self.operators.end()
        over = uptime()
        self._say("wait for the end of all")
        problems = self._finish()
        self.watcher.end()
        return self._judge(problems, offset, over)

    def _say(self, what: str) -> None:
        print("upgrade: {}".format(what), flush=True)

    def _start(self, *nodes: Node) -> None:
        for node in nodes:
            node.start()

    def _migrate(self) -> None:
        self.call(self.settings.binary, "migrate")
        self.starter.programs.append(self.settings.binary)
        self.operators.programs.append(self.settings.binary)

    def _kill(self, node: Node) -> None:
        node.kill()
        time.sleep(AWAY_S)
        node.start()

    def _restart(self, node: Node) -> None:
        node.stop()
        node.start()

    def _stop(self, node: Node) -> None:
        node.stop()

    def _judge(self, problems: List[str], offset: float, over: float) -> List[str]:
        processes = [process for wave in self.waves for process in wave.processes]
        checker = Checker(self.settings, self.database, processes, Excuses(self.nodes, [], [], self.stalls), offset,
                          self.operators.cancelled)
        checker.run()
        journals, _ = read_all(self.settings)
        begun = [(it.began, it.node_id[:3]) for journal in journals.values() for it in journal.executions]
        phases = self.phases(begun, over)
        problems += checker.violations + self._problems() + self.operators.problems + self.watcher.problems
        problems += self.operators.pauses_broken(journals)
        problems += self.idle(phases) + measures.outputs_amiss(self.database)
        self._figures(checker, phases, offset, over)
        for problem in problems[:VIOLATIONS_SHOWN_MAX]:
            print("wrong: {}".format(problem), file=sys.stderr)
        self._say("{} WRONG".format(len(problems)) if problems else "all is as it should be")
        return problems

    def phases(self, begun: List[Tuple[float, str]], over: float) -> "List[Counter[str]]":
        """How many tasks each kind began between the end of a step and the beginning of the next."""
        ends = [step.began for step in self.steps[1:]] + [over]
        return [Counter(kind for at, kind in begun if step.ended <= at < end) for step, end in zip(self.steps, ends)]

    def idle(self, phases: "List[Counter[str]]") -> List[str]:
        return ["no {} node has begun a task after the step: {}".format(kind, step.name)
                for step, counts in zip(self.steps, phases) for kind in sorted(step.kinds) if not counts[kind]]

    def _figures(self, checker: Checker, phases: "List[Counter[str]]", offset: float,
                 over: float) -> None:
        first = self.steps[0].began
        self._say("   at, lasted, then tasks begun by old and new nodes, step")
        for step, counts in zip(self.steps, phases):
            self._say("{:5.1f} s {:5.2f} s {:6} {:6}  {}".format(
                step.began - first, step.ended - step.began, counts["old"], counts["new"], step.name))
        migration = next(step for step in self.steps if step.name.startswith("migrate"))
        span = (migration.began + offset, migration.ended + offset)
        # What comes after the load are single processes that take long.
        gaps = [gap for gap in measures.gaps(self.database) if gap.ended <= over + offset]
        versions = self.database.ask("SELECT max(version) AS version FROM process_orchestrator.schema_migrations")
        self._say("the migration to schema version {} took {:.2f} s; longest time between two recorded results "
                  "{:.2f} s meanwhile, {:.2f} s otherwise".format(
                      versions[0]["version"], migration.ended - migration.began, measures.longest(gaps, *span),
                      measures.longest_outside(gaps, *span)))
        lost: Dict[str, int] = {name[5:]: n for name, n in checker.counts.items() if name.startswith("lost ")}
        rows = self.database.ask("SELECT status, count(*) AS n FROM process_orchestrator.processes GROUP BY status")
        self._say("{} processes ({}), {} executions ({}), LOST: {}".format(
            self.settings.processes, listed({row["status"]: int(row["n"]) for row in rows}),
            checker.counts["executions"], listed(dict(checker.outcomes)), listed(lost) or "none"))
        self._say("processes by eras: {}".format(listed(measures.eras(self.database))))
        self._say("{} requests to cancel, {} pauses, {} looks at the queue's states; starts tried again: {}".format(
            len(self.operators.cancelled), len(self.operators.pauses), self.watcher.looks,
            listed(dict(Counter(self.starter.tries_in_vain))) or "none"))
