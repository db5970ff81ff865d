"""Schedules that are due each second while nodes are killed, frozen and cut off: each of their times has one process."""

import time
from typing import List

from database import Database
from settings import uptime

# The type of what they start.
KIND = "ticks"
# A node that was frozen with the row of a schedule holds it until the server has noticed.
FIRED_S_MAX = 60
# With `all` no time is lost, however long nobody was there: a run is shorter than a thousand seconds between two looks.
NAMES = {"tick-beside": ("allow", 1), "tick-in-line": ("skip", 2), "tick-third": ("allow", 3)}


def is_one(process_id: str) -> bool:
    """Whether a schedule has started it."""
    return process_id.partition("@")[0] in NAMES


def begin(database: Database) -> None:
    for name, (overlap, seconds) in NAMES.items():
        database.ask("SELECT process_orchestrator.add_schedule(jsonb_build_object('name', '{}', 'process_type', '{}', 'every', "
                     "'{}s', 'overlap', '{}', 'catch_up', 'all', 'catch_up_max', 1000, 'input', "
                     "'{{\"config\": {{\"times\": 0, \"pause\": 0, \"bytes\": 0}}}}'::jsonb))".format(name, KIND, seconds, overlap))


def end(database: Database) -> List[str]:
    """All faults are healed: pauses each when what was due has fired."""
    since = uptime()
    while uptime() - since < FIRED_S_MAX:
        database.execute("UPDATE process_orchestrator.schedules SET paused_at = now() WHERE paused_at IS NULL AND next_at > now()")
        left = database.ask("SELECT name, next_at, due_at, problem FROM process_orchestrator.schedules WHERE paused_at IS NULL")
        if not left:
            return []
        time.sleep(0.1)
    return ["schedules have not fired {} s after the last fault: {}".format(FIRED_S_MAX, left)]


def problems(database: Database) -> List[str]:
    """Of each schedule all times from the first on have fired, each once, and all processes have completed."""
    wrong = []
    for name, (_, seconds) in NAMES.items():
        row = database.ask(
            "SELECT count(*) AS n, count(*) FILTER (WHERE status = 'COMPLETED') AS completed, "
            "count(DISTINCT input_data ->> 'scheduled_at') AS times, "
            "coalesce(extract(epoch FROM max((input_data ->> 'scheduled_at')::timestamptz) - "
            "min((input_data ->> 'scheduled_at')::timestamptz))::bigint / {} + 1, 0) AS all_times "
            "FROM process_orchestrator.processes WHERE starts_with(process_id, '{}@')".format(seconds, name))[0]
        if not int(row["n"]) == int(row["completed"]) == int(row["times"]) == int(row["all_times"]) > 0:
            wrong.append("schedule {}: {}".format(name, dict(row)))
        late = database.ask("SELECT s.fired, s.skipped_missed, s.skipped_overlap, s.problem FROM process_orchestrator.schedules s "
                            "WHERE s.name = '{}' AND (s.skipped_missed + s.skipped_overlap + s.skipped_taken > 0 "
                            "OR s.problem IS NOT NULL)".format(name))
        wrong += ["schedule {} has skipped or failed: {}".format(name, dict(it)) for it in late]
    return wrong
