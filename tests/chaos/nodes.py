"""The nodes: started, killed, frozen, stopped, and what is left of them."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from typing import Dict, List, Optional

from processes import FAR_AWAY, children_of, send, stop_all, words_of
from proxy import Proxy
from settings import (ChaosError, DEAD_AFTER, DRAIN_TIMEOUT, ERAS, EXECUTORS, HEARTBEAT, LEASE, Settings, uptime)

# A node that ends is given its drain time, the grace of its commands, and what a loaded machine takes.
STOP_S_MAX = 60
# What `serve` answers when the database is away while it starts.
DATABASE_UNREACHABLE = 4
# Before it is ready the signal ends it; of a far one its process 1 says so.
ENDED_BY_SIGTERM = [-signal.SIGTERM, 128 + signal.SIGTERM]
# What a node says that could not record all of its results before it ended.
UNRECORDED = "the database did not take the last result"


class Node:
    """One place for a node: whoever dies there is followed by a new one with the same name and network.

    A node that `is_far` runs in a pid namespace of its own, as in a container: the others cannot see whether its
    process lives, and have to go by its lock and its silence. The program that is started is process 1 there, which
    attends to another one: the node itself.
    """

    def __init__(self, settings: Settings, name: str, proxy: Proxy, is_far: bool, is_old: bool) -> None:
        self.settings = settings
        self.name = name
        self.proxy = proxy
        self.is_far = is_far
        self.is_old = is_old
        self.program = settings.old_program if is_old else settings.binary
        self.process: Optional[subprocess.Popen] = None
        self.log = os.path.join(settings.logs, name + ".log")
        # The tender and the faults both start and end it. Nobody holds this for longer than an end by SIGKILL takes.
        self.lock = threading.RLock()
        self.is_wanted = False
        self.starts = 0
        # When, by pid; one that is far has another to itself.
        self.killed: Dict[int, float] = {}
        self.stopped: Dict[int, float] = {}
        # When it was seen that it had ended; of a killed one, when it was killed.
        self.ended: List[float] = []
        self.frozen: List[int] = []
        self.problems: List[str] = []

    def start(self) -> None:
        with self.lock:
            self.is_wanted = True
            if self.process is None:
                self._spawn()

    def _spawn(self) -> None:
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("PG", "PROCESS_ORCHESTRATOR_", "DATABASE_URL", "RUST_LOG"))}
        environment["DATABASE_URL"] = (
            "host=127.0.0.1 port={} user=chaos dbname=postgres connect_timeout=5 sslmode=disable"
            .format(self.proxy.port))
        # A program with failpoints begins and closes eras all the time.
        environment["PROCESS_ORCHESTRATOR_ERAS"] = ERAS
        command = [self.program, "serve", "--no-http", "--node-name", self.name, "--log-level", "info",
                   "--executors", str(EXECUTORS)]
        # They are registered before; documents with limits are nothing that the last release could read.
        if not (self.is_old and self.settings.has_limits):
            command += ["--process-types", self.settings.types]
        for option, seconds in (("heartbeat", HEARTBEAT), ("dead-after", DEAD_AFTER), ("lease", LEASE),
                                ("drain-timeout", DRAIN_TIMEOUT)):
            command += ["--" + option, "{}s".format(seconds)]
        if self.is_far:
            command = [*FAR_AWAY, *command]
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C at the script is the script's to pass on.
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.starts += 1

    def _first(self, process: subprocess.Popen) -> Optional[int]:
        """The program that was started, which of a far node is process 1; `None` while there is none yet."""
        if not self.is_far:
            return process.pid
        return next((pid for pid in children_of(process.pid) if self._is_serving(pid)), None)

    def _itself(self, process: subprocess.Popen) -> Optional[int]:
        first = self._first(process)
        if first is None or not self.is_far:
            return first
        return next((pid for pid in children_of(first) if self._is_serving(pid)), None)

    def _is_serving(self, pid: int) -> bool:
        return words_of(pid)[:2] == [self.program.encode(), b"serve"]

    def freeze(self, is_all: bool) -> bool:
        """Stops the node itself, or with it all that is its: process 1, guard, commands. Says whether it was there."""
        with self.lock:
            pid = self._itself(self.process) if self.process and self.process.poll() is None else None
            if pid is None or not send(pid, signal.SIGSTOP):
                return False
            self.frozen.append(pid)
            if is_all:
                first = self._first(self.process)
                if first != pid and first is not None and send(first, signal.SIGSTOP):
                    self.frozen.append(first)
                stop_all([self.name], self.frozen)
            return True

    def thaw(self) -> None:
        with self.lock:
            for pid in self.frozen:
                send(pid, signal.SIGCONT)
            self.frozen.clear()

    def kill(self) -> bool:
        """Ends the program that was started; with a namespace's first process all of it ends."""
        with self.lock:
            self.is_wanted = False
            process, self.process = self.process, None
            if process is None:
                return False
            at = uptime()
            self.ended.append(at)
            was_there = process.poll() is None and send(self._first(process) or process.pid, signal.SIGKILL)
            if was_there:
                self.killed[process.pid] = at
            process.wait()
            return was_there

    def stop(self, hurry_after: Optional[float] = None) -> bool:
        """SIGTERM, a second one after a while if asked for, and its end: in order, or a problem."""
        with self.lock:
            self.is_wanted = False
            process = self.process
        if process is None or not self._terminate(process):
            return False
        if hurry_after is not None:
            time.sleep(hurry_after)
            self._terminate(process)
        try:
            code = process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.problems.append("{} (pid {}) did not end {} s after SIGTERM".format(
                self.name, process.pid, STOP_S_MAX))
            self.kill()
            return True
        with self.lock:
            self.ended.append(uptime())
            # Before it was ready the signal ends it, or an absent database; another fault may have killed it.
            expected = [0, DATABASE_UNREACHABLE, *ENDED_BY_SIGTERM]
            if UNRECORDED in self.log_text():
                expected.append(1)  # The database was away to the end.
            if code not in expected and process.pid not in self.killed:
                self.problems.append("{} (pid {}) ended with {} at SIGTERM".format(self.name, process.pid, code))
            if self.process is process:
                self.process = None
        return True

    def _terminate(self, process: subprocess.Popen) -> bool:
        """Says whether there was somebody to have the signal.

        The kernel keeps a signal from process 1 that it does not heed yet; it does when it has started the node.
        """
        deadline = uptime() + STOP_S_MAX
        while process.poll() is None and uptime() < deadline:
            first = self._first(process)
            if first is not None and self._itself(process) is not None and send(first, signal.SIGTERM):
                self.stopped.setdefault(process.pid, uptime())
                return True
            time.sleep(0.02)
        if process.poll() is None:
            self.problems.append("{} (pid {}) has not heeded signals {} s after its start".format(
                self.name, process.pid, STOP_S_MAX))
        return False

    def tend(self) -> None:
        """A node that could not start for want of the database is started again; no other may end by itself."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if not self.is_wanted or self.process is None or self.process.poll() is None:
                return
            code, pid = self.process.returncode, self.process.pid
            self.ended.append(uptime())
            if code != DATABASE_UNREACHABLE:
                self.problems.append("{} (pid {}) ended by itself with {}".format(self.name, pid, code))
            self._spawn()
        finally:
            self.lock.release()

    def log_text(self) -> str:
        try:
            with open(self.log, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def node_ids(self) -> Dict[str, int]:
        """The ids of all that ran here, each with its pid."""
        found = re.findall(r"node started node_id=({}-(\d+)-[0-9a-f]+)".format(re.escape(self.name)), self.log_text())
        return {node_id: int(pid) for node_id, pid in found}


def require_files(settings: Settings) -> None:
    if shutil.which("flock") is None:
        raise ChaosError("flock is missing: install util-linux")
    for number, option in ((settings.nodes, "binary"), (0, "old-program")):
        program = settings.program_of(number)
        if not os.access(program, os.X_OK):
            raise ChaosError("there is no program {}: build it, or name another with --{}".format(program, option))
