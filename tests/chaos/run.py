"""One run from the first start to the verdict."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import List, Optional, Tuple

import events
import faults
import limits
import workload
from checker import Checker
from database import Database, DatabaseError
from excuses import Excuses
from faults import Fault, Injector
from journal import read_all
from nodes import Node, require_files
from operations import Operators
from processes import can_be_far, marked, send, wait_until_none_is_left
from proxy import Network
from settings import ChaosError, LEASE, Settings, uptime, wall_offset
from workload import Starter

# Without any process ending for so long, something is stuck: longer than a lease, a takeover and every backoff.
NO_PROGRESS_S_MAX = 60
# What a stopped node may leave is gone by then.
LEFTOVERS_S_MAX = 5
VIOLATIONS_SHOWN_MAX = 30
# The test that replays what PROCESS_ORCHESTRATOR_JOURNAL names.
REPLAY = "protocol::replay::journals_of_chaos_runs_keep_the_rules"
REPLAY_S_MAX = 300
# The machine stood still if a thread that wanted to look every 100 ms has not looked for so long.
STALL_S = 1.0


class Run:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        require_files(settings)
        for folder in (settings.journals, settings.logs):
            os.makedirs(folder)
        workload.write_types(settings)
        self.database = Database(settings.folder, settings.postgresql)
        # No other run's nodes, whose marks are looked for at the end, have these names.
        tag = os.path.basename(settings.folder).split(".")[-1]
        self.network = Network(self.database.socket)
        may_be_far = can_be_far()
        self.nodes = [Node(settings, self.name_of(number, tag), self.network.proxy(),
                           may_be_far and self.is_far(number), settings.is_old(number))
                      for number in range(settings.nodes)]
        self.waves = workload.plan(settings)
        self.schedule = self.plan_faults()
        self.injector = Injector(settings, self.database, self.nodes, self.schedule)
        self.starter = Starter(settings, self.database, self.waves)
        self.operators = Operators(settings, self.database, [], is_amid_faults=True)
        self.stalls: List[Tuple[float, float]] = []
        self.waiting = limits.Waiting()
        self.is_tending = threading.Event()
        self.tender = threading.Thread(target=self._tend, name="tender", daemon=True)

    def plan_faults(self) -> List[Fault]:
        return faults.plan(self.settings)

    def name_of(self, number: int, tag: str) -> str:
        return "chaos-{}-{}".format(tag, number + 1)

    def is_far(self, number: int) -> bool:
        return 0 < number == self.settings.nodes - 1

    def carry_out(self) -> List[str]:
        """Returns what should not be."""
        self._write_schedule()
        self.database.start()
        offset = wall_offset()
        exact_offset = events.exact_offset()
        self.prepare(self.settings.binary)
        events.install(self.database)
        if self.settings.has_limits:
            workload.begin_schedules(self.database)
        for node in self.nodes:
            node.start()
        self.is_tending.set()
        self.tender.start()
        began, began_at = time.monotonic(), time.time()
        self.starter.begin()
        self.injector.begin()
        self.operators.begin()
        self.starter.end()
        self.injector.end()
        self.operators.end()
        late: List[str] = []
        if self.settings.has_limits:
            late = workload.end_schedules(self.database)
        self.starter.start_now(workload.calm(self.settings))
        problems = late + self._finish()
        excuses = Excuses(self.nodes, self.injector.isolations, self.injector.sessions_lost, self.stalls)
        processes = [process for wave in self.waves for process in wave.processes]
        checker = Checker(self.settings, self.database, processes, excuses, offset, self.operators.cancelled,
                          self.operators.retried, self.operators.changes)
        checker.run()
        if self.settings.has_limits:
            problems += workload.schedule_problems(self.database)
        problems += checker.violations + self._problems() + self.waiting.problems + limits.exceeded(self.database)
        journals, _ = read_all(self.settings)
        events.export(self.settings, self.database, self.nodes, journals, excuses, exact_offset, began_at)
        problems += self._replay()
        self._report(problems, checker, (time.monotonic() - began) / 60)
        return problems

    def prepare(self, program: str) -> None:
        """Has one of the programs make the tables, or bring them to its version, and register the types."""
        self.call(program, "migrate")
        self.call(program, "types", "register", self.settings.types)

    def call(self, program: str, *words: str) -> None:
        subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DATABASE_URL": self.database.url})

    def _write_schedule(self) -> None:
        with open(os.path.join(self.settings.folder, "schedule"), "w") as file:
            file.writelines("{}\n".format(fault) for fault in self.schedule)

    def _finish(self) -> List[str]:
        """All faults are healed: waits until all processes have ended, then stops the nodes."""
        problems = self._wait_for_processes()
        stoppers = [threading.Thread(target=node.stop) for node in self.nodes]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()
        self.is_tending.clear()
        left = wait_until_none_is_left([node.name for node in self.nodes], LEFTOVERS_S_MAX)
        problems += ["process {} lives on although its node has ended: {}".format(*it) for it in left.items()]
        return problems

    def _wait_for_processes(self) -> List[str]:
        waiting, since = -1, uptime()
        unfinished = 0
        while True:
            rows = self.database.try_ask("SELECT count(*) AS n FROM process_orchestrator.processes "
                                         "WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')")
            now = int(rows[0]["n"]) if rows else waiting
            if now == 0:
                return []
            # Once something has ended the nodes have come back from the last fault.
            unfinished = unfinished or now
            if self.settings.has_limits and 0 < now < unfinished:
                self.waiting.look(self.database, uptime())
            if now != waiting:
                waiting, since = now, uptime()
            if uptime() - since > NO_PROGRESS_S_MAX:
                return ["{} processes have not ended {} s after the last that did:".format(waiting, NO_PROGRESS_S_MAX),
                        *self._stuck()]
            time.sleep(0.2)

    def _stuck(self) -> List[str]:
        """What is known of the processes that do not end."""
        rows = self.database.ask(
            "SELECT p.process_id, p.status, p.current_task_index, t.status AS task, t.attempt, s.execution_time, now(), "
            "s.picked_by, s.version, n.state, n.last_heartbeat "
            "FROM process_orchestrator.processes p "
            "LEFT JOIN process_orchestrator.tasks t ON t.process_id = p.process_id "
            "AND t.task_index = p.current_task_index "
            "LEFT JOIN process_orchestrator.scheduled_tasks s ON s.task_instance = p.process_id "
            "LEFT JOIN process_orchestrator.nodes n ON n.node_id = s.picked_by "
            "WHERE p.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') "
            "ORDER BY p.process_id LIMIT 20")
        return ["  {}".format(dict(row)) for row in rows]

    def _tend(self) -> None:
        last = uptime()
        while self.is_tending.is_set():
            for node in self.nodes:
                node.tend()
            time.sleep(0.1)
            now = uptime()
            if now - last > STALL_S:
                self.stalls.append((last, now))
            last = now

    def _problems(self) -> List[str]:
        problems = list(self.injector.problems)
        if self.starter.problem:
            problems.append(self.starter.problem)
        for node in self.nodes:
            problems += node.problems
            problems += ["{}: {}".format(node.log, line) for line in node.log_text().splitlines() if "panicked" in line]
        return problems

    def _replay(self) -> List[str]:
        """Has the tests' program replay all that happened; what it refuses is a problem."""
        if not self.settings.replay:
            return []
        environment = {**os.environ, "PROCESS_ORCHESTRATOR_JOURNAL": self.settings.events}
        ended = subprocess.run([self.settings.replay, REPLAY, "--exact"], env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, universal_newlines=True, timeout=REPLAY_S_MAX)
        if ended.returncode == 0 and "1 passed" in ended.stdout:
            with open(self.settings.events) as file:
                print("chaos: {} steps replayed".format(sum(1 for _ in file)))
            return []
        return ["the replay of {}: {}".format(self.settings.events, line) for line in ended.stdout.splitlines()
                if line.startswith("refused")] or ["the replay failed:\n" + ended.stdout]

    def _report(self, problems: List[str], checker: Checker, minutes: float) -> None:
        for problem in problems[:VIOLATIONS_SHOWN_MAX]:
            print("wrong: {}".format(problem), file=sys.stderr)
        if len(problems) > VIOLATIONS_SHOWN_MAX:
            print("and {} more".format(len(problems) - VIOLATIONS_SHOWN_MAX), file=sys.stderr)
        stale = sum(node.log_text().count("stale result dropped") for node in self.nodes)
        injected = self.injector.injected
        lost = {name[5:]: count for name, count in checker.counts.items() if name.startswith("lost ")}
        print("chaos: seed {}: {:.1f} minutes, {:.1f} of them with {} faults ({}), {} node starts".format(
            self.settings.seed, minutes, self.injector.took / 60, sum(injected.values()), listed(injected),
            sum(node.starts for node in self.nodes)))
        print("chaos: {} processes ({} of them to be cancelled, {} to go again), {} executions checked ({}), LOST: {}; "
              "{} stale results; {} of a killed command's children met, {} overlaps excused, {} commands ended by an old "
              "node's guard when it had come back".format(
                  self.settings.processes, len(self.operators.cancelled), len(self.operators.retried),
                  checker.counts["executions"], listed(dict(checker.outcomes)), listed(lost) or "none", stale,
                  checker.counts["waits"], checker.counts["overlaps excused"], checker.counts["swept"]))
        print("chaos: {}".format("{} WRONG".format(len(problems)) if problems else "all is as it should be"), flush=True)

    def clean_up(self) -> None:
        """Leaves no process behind, whatever has happened."""
        self.is_tending.clear()
        for node in self.nodes:
            node.kill()
        for pid in marked([node.name for node in self.nodes]):
            send(pid, signal.SIGKILL)
        with self.database.restarting:
            self.database.stop()


def listed(counts: dict) -> str:
    return ", ".join("{} {}".format(count, name) for name, count in sorted(counts.items(), key=lambda it: -it[1]))
