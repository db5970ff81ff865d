"""What the commands wrote down of themselves."""

import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from settings import Settings


class Entry(NamedTuple):
    """One line: START (detail: the node's id), END (the exit code), WAITS or OVERLAP."""
    word: str
    index: int
    attempt: int
    pid: int
    at: float
    detail: str


class Execution(NamedTuple):
    """One command that began, as the journal has it."""
    index: int
    attempt: int
    pid: int
    node_id: str
    began: float
    # Its place among the lines, and among the beginnings of its task.
    place: int
    nth: int
    ended_place: Optional[int]
    ended: Optional[float]
    code: Optional[int]


class Journal:
    """The journal of one process."""

    def __init__(self, entries: List[Entry]) -> None:
        self.entries = entries
        self.executions: List[Execution] = []
        begun: Dict[int, int] = {}
        for place, entry in enumerate(entries):
            if entry.word != "START":
                continue
            begun[entry.index] = begun.get(entry.index, 0) + 1
            end = self._end_of(entry, place)
            ended = entries[end] if end is not None else None
            self.executions.append(Execution(
                entry.index, entry.attempt, entry.pid, entry.detail, entry.at, place, begun[entry.index],
                end, ended.at if ended else None, int(ended.detail) if ended else None))

    def _end_of(self, start: Entry, place: int) -> Optional[int]:
        for later in range(place + 1, len(self.entries)):
            entry = self.entries[later]
            if entry.word == "END" and entry[1:4] == start[1:4]:
                return later
        return None

    def of(self, index: int, attempt: int) -> List[Execution]:
        return [it for it in self.executions if (it.index, it.attempt) == (index, attempt)]

    def unended_before(self, place: int) -> List[Execution]:
        """Whoever had begun and not ended at a line: killed, or still alive."""
        return [it for it in self.executions
                if it.place < place and (it.ended_place is None or it.ended_place > place)]


def read_all(settings: Settings) -> Tuple[Dict[str, Journal], List[str]]:
    """The journals by process id, and what is wrong with them."""
    journals, problems = {}, []
    for name in os.listdir(settings.journals):
        entries = []
        with open(os.path.join(settings.journals, name)) as file:
            for number, line in enumerate(file, 1):
                try:
                    word, index, attempt, pid, at, detail = line.split()
                    entries.append(Entry(word, int(index), int(attempt), int(pid), float(at), detail))
                except ValueError:
                    problems.append("{}, line {} of its journal cannot be read: {!r}".format(name, number, line))
        journals[name] = Journal(entries)
    return journals, problems
