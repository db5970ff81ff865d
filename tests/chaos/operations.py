"""What operators do meanwhile: they cancel processes, pause a type and resume it, by SQL and by each program; amid
faults, where a command may fail, they also have ended processes go again."""

import os
import random
import subprocess
import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Set

import limits
from database import Database, DatabaseError
from journal import Journal
from settings import Settings, uptime

# The type that is paused; each of its tasks takes a second or so.
PAUSED = "slow-chain"
PAUSE_S = 6.0
BETWEEN_PAUSES_S = 4.0
# Nodes hear of a pause at once and look every second; what they had claimed by then is begun.
HEARD_S = 3.0
CANCEL_EVERY_S = 0.7
RETRY_EVERY_S = 1.5
CHANGE_EVERY_S = 1.2
COMMAND_S_MAX = 60
AGAIN_S = 0.2


class Pause(NamedTuple):
    began: float
    ended: float


class Operators:
    def __init__(self, settings: Settings, database: Database, programs: List[str],
                 is_amid_faults: bool = False) -> None:
        self.settings, self.database, self.is_amid_faults = settings, database, is_amid_faults
        # The programs of the releases that know the schema as it is.
        self.programs = programs
        self.chance = random.Random("operators {}".format(settings.seed))
        self.pauses: List[Pause] = []
        self.is_paused = False
        self.cancelled: Set[str] = set()
        self.retried: Set[str] = set()
        self.changes: List[limits.Change] = []
        self.problems: List[str] = []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._guarded, args=(it,), name=it.__name__, daemon=True)
                        for it in [self._pause, self._cancel] + [self._retry] * is_amid_faults
                        + [self._change_limits] * settings.has_limits]

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """What is paused is resumed by then."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        while True:
            try:
                return work()
            except (DatabaseError, subprocess.SubprocessError) as error:
                if not self.is_amid_faults:
                    self.problems.append("{} failed: {}".format(work.__name__, error))
                    return
            time.sleep(AGAIN_S)

    def _pause(self) -> None:
        if self.is_paused:
            self._resume()
        while not self.is_over.wait(BETWEEN_PAUSES_S):
            self.is_paused = True
            self._do("pause", [PAUSED], "SELECT process_orchestrator.pause_process_type('{}')".format(PAUSED))
            began = uptime()
            self.is_over.wait(PAUSE_S)
            self.pauses.append(Pause(began, uptime()))
            self._resume()

    def _resume(self) -> None:
        self._do("resume", [PAUSED], "SELECT process_orchestrator.resume_process_type('{}')".format(PAUSED))
        self.is_paused = False

    def _retry(self) -> None:
        while not self.is_over.wait(RETRY_EVERY_S):
            rows = self.database.ask("SELECT process_id AS id FROM process_orchestrator.processes WHERE status IN "
                                     "('FAILED', 'CANCELLED') AND process_type <> 'long' ORDER BY random() LIMIT 2")
            for row in rows:
                # Said before: the answer may be lost.
                self.retried.add(row["id"])
                self.database.execute("SELECT process_orchestrator.retry_processes(ARRAY['{}'], {})".format(
                    row["id"], self.chance.choice(["NULL", "'task-0'"])))

    def _change_limits(self) -> None:
        while not self.is_over.wait(CHANGE_EVERY_S):
            self._set_max(self.chance.choice(list(limits.CHANGED)), self.chance.randint(0, limits.CHANGED_MAX))
        for name, most in limits.CHANGED.items():
            self._set_max(name, most)

    def _set_max(self, name: str, most: int) -> None:
        asked, done = uptime(), None
        try:
            self.database.execute("SELECT process_orchestrator.set_limit('{}', {})".format(name, most))
            done = uptime()
        finally:
            self.changes.append(limits.Change(name, most, asked, done))

    def _cancel(self) -> None:
        while not self.is_over.wait(CANCEL_EVERY_S):
            rows = self.database.ask("SELECT task_instance AS id FROM process_orchestrator.scheduled_tasks "
                                     "ORDER BY random() LIMIT {}".format(self.chance.randint(1, 3)))
            ids = [row["id"] for row in rows]
            if ids:
                self.cancelled.update(ids)
                self._do("cancel", ids, "SELECT process_orchestrator.cancel_processes(ARRAY[{}])".format(
                    ", ".join("'{}'".format(it) for it in ids)))

    def _do(self, verb: str, words: List[str], sql: str) -> None:
        program: Optional[str] = self.chance.choice([None, *self.programs])
        if program is None:
            self.database.execute(sql)
            return
        environment = {"PATH": os.environ.get("PATH", ""), "DATABASE_URL": self.database.url}
        ended = subprocess.run([program, verb, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               universal_newlines=True, timeout=COMMAND_S_MAX)
        # A process may have ended since it was chosen, which a cancel answers with 1.
        if ended.returncode not in ((0, 1) if verb == "cancel" else (0,)):
            self.problems.append("{} {} ended with {}: {}".format(program, verb, ended.returncode, ended.stderr))

    def pauses_broken(self, journals: Dict[str, Journal]) -> List[str]:
        """The tasks that were begun although their type was paused."""
        return ["{}: task {} was begun by {} {:.1f} s after its type was paused".format(
                    name, it.index, it.node_id, it.began - pause.began)
                for name, journal in sorted(journals.items()) if name.startswith(PAUSED)
                for it in journal.executions for pause in self.pauses if pause.began + HEARD_S < it.began < pause.ended]
