"""What the system shows of the nodes' processes, and what is left of them."""

import os
import signal
import subprocess
import time
from typing import Dict, List

from settings import uptime

# A pid namespace of its own, which ends with its first process.
FAR_AWAY = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
MARK = b"PROCESS_ORCHESTRATOR_NODE="


def can_be_far() -> bool:
    """Whether this user may make namespaces: root may, mostly."""
    try:
        return subprocess.run([*FAR_AWAY, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def words_of(pid: int) -> List[bytes]:
    """The command line of a process; empty when it has ended."""
    return read(pid, "cmdline").split(b"\0")[:-1]


def children_of(pid: int) -> List[int]:
    return [int(child) for child in read(pid, "task/{}/children".format(pid)).split()]


def read(pid: int, name: str) -> bytes:
    try:
        with open("/proc/{}/{}".format(pid, name), "rb") as file:
            return file.read()
    except OSError:
        return b""  # It has ended, or is somebody else's.


def send(pid: int, number: int) -> bool:
    """Says whether there was somebody to have it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def stop_all(names: List[str], stopped: List[int]) -> None:
    """Stops all that carries the mark of one of these nodes, and what is begun meanwhile, and adds it to `stopped`."""
    while True:
        running = [pid for pid in marked(names) if pid not in stopped]
        if not running:
            return
        stopped += [pid for pid in running if send(pid, signal.SIGSTOP)]


def marked(names: List[str]) -> Dict[int, str]:
    """Processes of this machine that carry the mark of one of these nodes, and their guards, with what they are."""
    found = {}
    marks = tuple(MARK + name.encode() + b"-" for name in names)
    guards = tuple(name.encode() + b"-" for name in names)
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        words = words_of(int(entry))
        is_guard = words[1:2] in ([b"__guard"], [b"__guard2"]) and b"".join(words[2:3]).startswith(guards)
        if is_guard or any(it.startswith(marks) for it in read(int(entry), "environ").split(b"\0")):
            found[int(entry)] = b" ".join(words).decode(errors="replace")
    return found


def wait_until_none_is_left(names: List[str], patience_s: float) -> Dict[int, str]:
    """What lives on though its node has ended."""
    deadline = uptime() + patience_s
    while True:
        left = marked(names)
        if not left or uptime() > deadline:
            return left
        time.sleep(0.1)
