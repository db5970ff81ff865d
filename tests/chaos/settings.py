"""What one run is to do: everything that follows from it follows from the seed."""

import os
import time
from typing import NamedTuple

# The clocks of the nodes, in seconds, each at least three times the one before. Short, so that every kind of
# death happens in a short run; long enough that a loaded machine does not make a healthy node look dead.
HEARTBEAT = 0.5
DEAD_AFTER = 2.5
LEASE = 7.5
DRAIN_TIMEOUT = 1.0
EXECUTORS = 8
# Processes in an era, and milliseconds between two looks.
ERAS = "20:100"


class Settings(NamedTuple):
    seed: int
    minutes: float
    nodes: int
    processes: int
    binary: str
    postgresql: str
    folder: str
    keep: bool = False
    # So many of the nodes, the first ones, are of the last release.
    old_program: str = ""
    old_nodes: int = 0
    # The program of the tests, which replays what happened; none: it is not replayed.
    replay: str = ""
    # Its types have limits, which the last release's programs can't read.
    has_limits: bool = True

    def is_old(self, node: int) -> bool:
        return node < self.old_nodes

    def program_of(self, node: int) -> str:
        return self.old_program if self.is_old(node) else self.binary

    @property
    def seconds(self) -> float:
        """How long faults and starts go on; what is left after that is run without faults."""
        return self.minutes * 60

    @property
    def journals(self) -> str:
        return os.path.join(self.folder, "journals")

    @property
    def events(self) -> str:
        return os.path.join(self.folder, "events.jsonl")

    @property
    def types(self) -> str:
        return os.path.join(self.folder, "types")

    @property
    def logs(self) -> str:
        return os.path.join(self.folder, "logs")


def uptime() -> float:
    """The clock of the journals: seconds since boot, as a shell can read it."""
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])


def wall_offset() -> float:
    """What to add to a journal's time to have the wall clock's."""
    return time.time() - uptime()


class ChaosError(Exception):
    """The run could not be carried out: a person has to look, the seed is not to blame."""
