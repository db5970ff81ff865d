"""The migration of many unfinished processes beside an old node that works: how long it takes, and how long that
node records nothing."""

import json
import os
import subprocess
import sys
import time
from typing import Dict, List

import measures
from database import Database
from nodes import Node, require_files
from processes import marked, send
from proxy import Network
from settings import Settings

TYPE = "upgrade-many"
# Half of these last the old node for the whole measurement.
COUNT_MIN = 10000
# For a million, and for less; for more in proportion.
MIGRATION_S_MAX = 30
# How long the old node works before the migration, and after it.
BESIDE_S = 10
# A server as somebody would run it, not the chaos's, which need not survive anything.
SETTINGS = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "512MB", "max_wal_size": "4GB",
            "maintenance_work_mem": "256MB"}

# Half of them are due, of several priorities, and half lie in the next 30 days.
FILL = """
    INSERT INTO processes (process_id, process_type, total_tasks, priority)
    SELECT 'many-' || n, '{type}', 1, n % 4 FROM generate_series(1, {count}) AS n;
    INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, working_directory, environment,
        timeout_minutes, max_retries, retry, on_crash, max_output_bytes)
    SELECT p.process_id || ':' || t.task_index, p.process_id, t.task_index, t.name, t.command, t.shell,
        t.working_directory, t.environment, t.timeout_minutes, t.max_retries, t.retry, t.on_crash, t.max_output_bytes
    FROM processes p JOIN process_types k ON k.name = p.process_type CROSS JOIN jsonb_to_recordset(k.tasks) AS t (
        task_index integer, name text, command text, shell boolean, working_directory text, environment jsonb,
        timeout_minutes double precision, max_retries integer, retry jsonb, on_crash text, max_output_bytes bigint);
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority)
    SELECT '{type}', 'many-' || n, CASE WHEN n % 2 = 0 THEN now() - n * interval '1 millisecond'
        ELSE now() + interval '1 hour' + random() * interval '30 days' END, n % 4
    FROM generate_series(1, {count}) AS n;
    ANALYZE processes, tasks, scheduled_tasks;"""


class Migration:
    def __init__(self, settings: Settings, count: int) -> None:
        self.settings, self.count = settings, count
        require_files(settings)
        for folder in (settings.logs, settings.types):
            os.makedirs(folder)
        self.database = Database(settings.folder, settings.postgresql, SETTINGS)
        name = "old-{}-1".format(os.path.basename(settings.folder).split(".")[-1])
        self.node = Node(settings, name, Network(self.database.socket).proxy(), False, True)

    def carry_out(self) -> List[str]:
        """Returns what should not be."""
        self._write_type()
        self.database.start()
        self._call(self.settings.old_program, "migrate")
        self._call(self.settings.old_program, "types", "register", self.settings.types)
        began = time.monotonic()
        self.database.execute("SET search_path = process_orchestrator;" + FILL.format(type=TYPE, count=self.count))
        self._say("{:,} unfinished processes made in {:.1f} s".format(self.count, time.monotonic() - began))
        self.node.start()
        self._wait_for_results()
        time.sleep(BESIDE_S)
        began, at = time.monotonic(), time.time()
        self._call(self.settings.binary, "migrate")
        took, span = time.monotonic() - began, (at, time.time())
        after = self._results()
        time.sleep(BESIDE_S)
        problems = self._problems(took, self._results() - after)
        self.node.stop()
        self._figures(took, measures.gaps(self.database), span)
        problems += self.node.problems
        for problem in problems:
            print("wrong: {}".format(problem), file=sys.stderr)
        self._say("{} WRONG".format(len(problems)) if problems else "all is as it should be")
        return problems

    def _write_type(self) -> None:
        """Its one task is short, so that a time without results shows, and not so short that none is left to do."""
        task = {"name": "one", "command": "sleep 0.1"}
        with open(os.path.join(self.settings.types, TYPE + ".json"), "w") as file:
            json.dump({"name": TYPE, "tasks": [task]}, file)

    def _call(self, program: str, *words: str) -> None:
        subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DATABASE_URL": self.database.url})

    def _results(self) -> int:
        rows = self.database.ask("SELECT count(*) AS n FROM process_orchestrator.task_executions")
        return int(rows[0]["n"])

    def _wait_for_results(self) -> None:
        while not self._results():
            time.sleep(0.1)

    def _problems(self, took: float, results_after: int) -> List[str]:
        problems = measures.inconsistent(self.database) if measures.states(self.database) else []
        most = MIGRATION_S_MAX * max(1.0, self.count / 1000000)
        if took > most:
            problems.append("the migration took {:.1f} s, more than {:.0f} s".format(took, most))
        if not results_after:
            problems.append("the old node has recorded nothing in the {} s after the migration".format(BESIDE_S))
        return problems

    def _figures(self, took: float, gaps: List[measures.Gap], span: "tuple[float, float]") -> None:
        states: Dict[str, int] = measures.states(self.database)
        self._say("the migration took {:.2f} s; longest time between two recorded results of the old node {:.2f} s "
                  "meanwhile, {:.2f} s otherwise; {} results in all".format(
                      took, measures.longest(gaps, *span), measures.longest_outside(gaps, *span), self._results()))
        self._say("rows by state: {}".format(
            ", ".join("{} {:,}".format(*it) for it in sorted(states.items())) or "the schema has no states"))

    def _say(self, what: str) -> None:
        print("upgrade: {}".format(what), flush=True)

    def clean_up(self) -> None:
        """Leaves no process behind, whatever has happened."""
        self.node.kill()
        for pid in marked([self.node.name]):
            send(pid, 9)
        with self.database.restarting:
            self.database.stop()
