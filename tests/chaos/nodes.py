"""The nodes: started, killed, frozen, stopped, and what is left of them."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from typing import Dict, List, Optional

from proxy import Proxy
from settings import (ChaosError, DEAD_AFTER, DRAIN_TIMEOUT, EXECUTORS, HEARTBEAT, LEASE, Settings, uptime)

# A pid namespace of its own, which ends with its first process.
FAR_AWAY = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
MARK = b"PROCESS_ORCHESTRATOR_NODE="
# A node that ends is given its drain time, the grace of its commands, and what a loaded machine takes.
STOP_S_MAX = 60
# What `serve` answers when the database is away while it starts.
DATABASE_UNREACHABLE = 4
# What a node says that could not record all of its results before it ended.
UNRECORDED = "the database did not take the last result"


class Node:
    """One place for a node: whoever dies there is followed by a new one with the same name and network.

    A node that `is_far` runs as the first process of a pid namespace of its own, as in a container: the others
    cannot see whether its process lives, and have to go by its lock and its silence.
    """

    def __init__(self, settings: Settings, name: str, proxy: Proxy, is_far: bool) -> None:
        self.settings = settings
        self.name = name
        self.proxy = proxy
        self.is_far = is_far
        self.process: Optional[subprocess.Popen] = None
        self.log = os.path.join(settings.logs, name + ".log")
        # The tender and the faults both start and end it.
        self.lock = threading.RLock()
        self.is_wanted = False
        self.starts = 0
        # When, by pid; one that is far has another to itself.
        self.killed: Dict[int, float] = {}
        self.stopped: Dict[int, float] = {}
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
        command = [self.settings.binary, "serve", "--no-http", "--node-name", self.name, "--log-level", "info",
                   "--process-types", self.settings.types, "--executors", str(EXECUTORS)]
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

    def _own_pid(self, process: subprocess.Popen) -> int:
        """As this script sees it: of a far node `process` is the program that made its namespace."""
        if not self.is_far:
            return process.pid
        with open("/proc/{0}/task/{0}/children".format(process.pid)) as file:
            children = file.read().split()
        return int(children[0]) if children else process.pid

    def signal(self, number: int) -> bool:
        """Says whether there was somebody to have it."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                return False
            try:
                os.kill(self._own_pid(self.process), number)
            except (FileNotFoundError, ProcessLookupError):
                return False  # It ended at this moment.
            if number == signal.SIGTERM:
                self.stopped.setdefault(self.process.pid, uptime())
            return True

    def kill(self) -> bool:
        with self.lock:
            self.is_wanted = False
            at = uptime()
            was_there = self.signal(signal.SIGKILL)
            if self.process:
                if was_there:
                    self.killed[self.process.pid] = at
                self.process.wait()
                self.process = None
            return was_there

    def stop(self, hurry_after: Optional[float] = None) -> bool:
        """SIGTERM, a second one after a while if asked for, and its end: in order, or a problem."""
        with self.lock:
            self.is_wanted = False
            process = self.process
            if process and self.is_far:
                self._wait_until_it_heeds_signals(process)
            if not self.signal(signal.SIGTERM) or process is None:
                return False
        if hurry_after is not None:
            time.sleep(hurry_after)
            self.signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.problems.append("{} (pid {}) did not end {} s after SIGTERM".format(
                self.name, process.pid, STOP_S_MAX))
            self.kill()
            return True
        with self.lock:
            # Before it was ready the signal ends it, or an absent database; another fault may have killed it.
            expected = [0, DATABASE_UNREACHABLE, -signal.SIGTERM]
            if UNRECORDED in self.log_text():
                expected.append(1)  # The database was away to the end.
            if code not in expected and process.pid not in self.killed:
                self.problems.append("{} (pid {}) ended with {} at SIGTERM".format(self.name, process.pid, code))
            if self.process is process:
                self.process = None
        return True

    def _wait_until_it_heeds_signals(self, process: subprocess.Popen) -> None:
        """The kernel keeps signals that nobody catches from the first process of a namespace."""
        deadline = uptime() + STOP_S_MAX
        while process.poll() is None and uptime() < deadline:
            try:
                with open("/proc/{}/status".format(self._own_pid(process))) as file:
                    caught = int(re.findall(r"SigCgt:\s*([0-9a-f]+)", file.read())[0], 16)
            except (FileNotFoundError, ProcessLookupError):
                return
            if caught & 1 << (signal.SIGTERM - 1):
                return
            time.sleep(0.05)

    def tend(self) -> None:
        """A node that could not start for want of the database is started again; no other may end by itself."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if not self.is_wanted or self.process is None or self.process.poll() is None:
                return
            code, pid = self.process.returncode, self.process.pid
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


def marked(names: List[str]) -> Dict[int, str]:
    """Processes of this machine that carry the mark of one of these nodes, and their guards, with what they are."""
    found = {}
    marks = [MARK + name.encode() + b"-" for name in names]
    guards = [b"__guard\0" + name.encode() + b"-" for name in names]
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/{}/environ".format(entry), "rb") as file:
                environment = file.read().split(b"\0")
            with open("/proc/{}/cmdline".format(entry), "rb") as file:
                words = file.read()
        except OSError:
            continue  # It has ended, or is somebody else's.
        is_command = any(variable.startswith(tuple(marks)) for variable in environment)
        if is_command or any(guard in words for guard in guards):
            found[int(entry)] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def wait_until_none_is_left(names: List[str], patience_s: float) -> Dict[int, str]:
    """What lives on though its node has ended."""
    deadline = uptime() + patience_s
    while True:
        left = marked(names)
        if not left or uptime() > deadline:
            return left
        time.sleep(0.1)


def can_be_far() -> bool:
    """Whether this user may make namespaces: root may, mostly."""
    try:
        return subprocess.run([*FAR_AWAY, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def require_files(settings: Settings) -> None:
    if shutil.which("flock") is None:
        raise ChaosError("flock is missing: install util-linux")
    if not os.access(settings.binary, os.X_OK):
        raise ChaosError("there is no program {}: build it, or name another with --binary".format(settings.binary))
