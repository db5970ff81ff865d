"""The processes: their types, how each is to behave, and the waves in which they are started."""

import json
import os
import random
import subprocess
import threading
import time
from typing import Dict, List, NamedTuple, Optional

import limits
from database import Database, DatabaseError
from settings import ChaosError, Settings, uptime

# How long a wave may fail to be started, whatever happens to the database.
START_S_MAX = 180


class Task(NamedTuple):
    """What the checker has to know of a task."""
    behaviour: str
    times: int
    bytes: int
    max_retries: int
    fatal_exit_codes: List[int]
    on_crash: str
    has_timeout: bool


class Kind(NamedTuple):
    """A process type; `behaviour` per task, where `${config.times}` and so on come from each process's input."""
    name: str
    weight: int
    behaviours: List[str]
    times_most: int
    max_retries: int
    pause_most: float
    on_crash: str = "rerun"
    timeout_s: float = 0.0

    @property
    def is_long(self) -> bool:
        return self.pause_most > 10


ALWAYS = 1000000
KINDS = [
    Kind("chain", 40, ["ok"] * 4, 0, 3, 0.05),
    Kind("long-chain", 10, ["ok"] * 10, 0, 3, 0.0),
    Kind("slow-chain", 12, ["ok"] * 3, 0, 3, 1.5),
    # Long enough to outlast the lease: whose commands are not ended in time is found with two of them alive.
    Kind("long", 12, ["ok"] * 2, 0, 3, 20.0),
    Kind("flaky", 15, ["ok", "fail:1", "fail:77"], 2, 3, 0.05),
    Kind("doomed", 6, ["ok", "fail:3", "ok"], ALWAYS, 1, 0.0),
    Kind("fatal", 4, ["ok", "fail:9", "ok"], ALWAYS, 5, 0.0),
    Kind("hangs-first", 7, ["ok", "hang", "ok"], 1, 4, 0.0, timeout_s=2.0),
    Kind("hangs", 5, ["hang"], ALWAYS, 1, 0.0, timeout_s=1.0),
    Kind("fragile", 10, ["ok", "ok", "ok"], 0, 2, 0.8, on_crash="fail"),
    Kind("missing", 3, ["ok", "spawn", "ok"], 0, 3, 0.0),
]
FATAL_EXIT_CODES = [9]
MAX_OUTPUT_BYTES = 32768
# Most long processes of one wave.
LONG_AT_ONCE = 6
# Processes of each kind that has limits, after the faults.
CALM = 40


class Process(NamedTuple):
    process_id: str
    kind: Kind
    config: Dict[str, object]

    def task(self, index: int) -> Task:
        kind = self.kind
        return Task(kind.behaviours[index], int(str(self.config["times"])), int(str(self.config["bytes"])),
                    kind.max_retries, FATAL_EXIT_CODES, kind.on_crash,
                    kind.timeout_s > 0 and kind.behaviours[index] == "hang")


class Wave(NamedTuple):
    """Processes of one kind that one call starts."""
    at: float
    by: str
    priority: int
    ahead: float
    processes: List[Process]


def document(kind: Kind, settings: Settings) -> Dict[str, object]:
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "command.sh")
    tasks = []
    for index, behaviour in enumerate(kind.behaviours):
        command = ["sh", script, settings.journals, behaviour, "${config.times}", "${config.pause}", "${config.bytes}"]
        task = {"name": "task-{}".format(index), "command": command, "max_retries": kind.max_retries,
                "on_crash": kind.on_crash, "max_output_bytes": MAX_OUTPUT_BYTES,
                "retry": {"initial_delay": "50ms", "max_delay": "500ms", "fatal_exit_codes": FATAL_EXIT_CODES}}
        if behaviour == "spawn":
            task["command"] = [os.path.join(settings.folder, "no-such-program")]
        if kind.timeout_s and behaviour == "hang":
            task["timeout_minutes"] = kind.timeout_s / 60
        tasks.append(task)
    concurrency = limits.documents(kind.name) if settings.has_limits else []
    return {"name": kind.name, "tasks": tasks, **({"concurrency": concurrency} if concurrency else {})}


def write_types(settings: Settings) -> None:
    os.makedirs(settings.types)
    for kind in KINDS:
        with open(os.path.join(settings.types, kind.name + ".json"), "w") as file:
            json.dump(document(kind, settings), file, indent=1)
    if settings.has_limits:
        with open(os.path.join(settings.types, "ticks.json"), "w") as file:
            json.dump(document(Kind(TICKS, 0, ["ok"], 0, 5, 0.0), settings), file, indent=1)


def plan(settings: Settings) -> List[Wave]:
    """Waves over the whole run, of the processes asked for in all."""
    chance = random.Random("workload {}".format(settings.seed))
    waves: List[Wave] = []
    left = settings.processes
    while left:
        kind = chance.choices(KINDS, [kind.weight for kind in KINDS])[0]
        # More that take long would only keep the executors from the others.
        size = min(left, chance.choice([1, 2, 5, 10, 20, 40]), LONG_AT_ONCE if kind.is_long else 40)
        number = len(waves)
        processes = [process(chance, kind, "{}-{}-{}".format(kind.name, number, i), settings.seconds)
                     for i in range(size)]
        waves.append(Wave(
            at=chance.uniform(0, settings.seconds * 0.95),
            # A program for each start is slow; most come through SQL.
            by="cli" if chance.random() < 0.15 else "sql",
            priority=chance.choice([0, 0, 0, 5, -5, 100]),
            ahead=chance.uniform(0.2, min(8.0, settings.seconds / 3)) if chance.random() < 0.2 else 0.0,
            processes=processes))
        left -= size
    return sorted(waves, key=lambda wave: wave.at)


def calm(settings: Settings) -> List[Wave]:
    """Processes that wait for limits, for the time when all faults are healed."""
    chance = random.Random("calm {}".format(settings.seed))
    kinds = [kind for kind in KINDS if kind.name in ("chain", "flaky")]
    return [Wave(0, "sql", 0, 0.0, [process(chance, kind, "calm-{}-{}".format(kind.name, i), 1) for i in range(CALM)])
            for kind in kinds]


def process(chance: random.Random, kind: Kind, process_id: str, seconds: float) -> Process:
    times = kind.times_most if kind.times_most in (0, ALWAYS) else chance.randint(0, kind.times_most)
    output = 0 if chance.random() < 0.7 else chance.choice([1, 100, 5000, 40000, 200000])
    # In a short run nothing takes long, or the end would be longer than the run.
    pause_most = min(kind.pause_most, seconds / 4)
    pause = 0.0
    if kind.is_long:
        pause = round(chance.uniform(pause_most / 2, pause_most), 2)
    elif chance.random() < 0.5:
        pause = round(chance.uniform(0, pause_most), 2)
    customer = "c{}".format(sum(process_id.encode()) % limits.CUSTOMERS)
    return Process(process_id, kind, {"times": times, "bytes": output, "pause": pause or 0, "customer": customer})


class Starter:
    """Starts the waves in their time, again and again until the database has taken them."""

    def __init__(self, settings: Settings, database: Database, waves: List[Wave]) -> None:
        self.settings, self.database, self.waves = settings, database, waves
        self.problem: Optional[str] = None
        self.tries_in_vain: List[str] = []
        # By turns: a release's command works beside the other's.
        self.programs = [settings.program_of(number) for number in range(settings.nodes)]
        self.thread = threading.Thread(target=self._run, name="starter", daemon=True)

    def begin(self) -> None:
        self.thread.start()

    def end(self) -> None:
        self.thread.join(START_S_MAX + self.settings.seconds)
        if self.thread.is_alive():
            raise ChaosError("the starts have not come to an end")

    def start_now(self, waves: List[Wave]) -> None:
        self.waves += waves
        for wave in waves:
            self._start(wave)

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for wave in list(self.waves):
                time.sleep(max(0.0, began + wave.at - time.monotonic()))
                self._start(wave)
        except (ChaosError, DatabaseError, OSError, subprocess.SubprocessError) as error:
            self.problem = "a wave was not started: {}".format(error)

    def _start(self, wave: Wave) -> None:
        deadline = time.monotonic() + START_S_MAX
        while True:
            problem = self._by_sql(wave) if wave.by == "sql" else self._by_cli(wave)
            if problem is None:
                return
            self.tries_in_vain.append(problem.strip())
            if time.monotonic() > deadline:
                raise ChaosError(problem)
            time.sleep(0.2)

    def _by_sql(self, wave: Wave) -> Optional[str]:
        inputs = ", ".join("'{}'::jsonb".format(json.dumps({"config": it.config})) for it in wave.processes)
        ids = ", ".join("'{}'".format(it.process_id) for it in wave.processes)
        try:
            self.database.execute(
                "SELECT process_orchestrator.start_processes('{}', ARRAY[{}], ARRAY[{}], "
                "now() + interval '{} s', {})".format(
                    wave.processes[0].kind.name, inputs, ids, wave.ahead, wave.priority))
        except DatabaseError as error:
            return str(error)
        return None

    def _by_cli(self, wave: Wave) -> Optional[str]:
        lines = "".join(json.dumps({"process_id": it.process_id, "config": it.config}) + "\n"
                        for it in wave.processes)
        self.programs.append(self.programs.pop(0))
        command = [self.programs[0], "start", wave.processes[0].kind.name, "--inputs", "-",
                   "--priority", str(wave.priority), "--at", "+{}ms".format(round(wave.ahead * 1000))]
        environment = {"PATH": os.environ.get("PATH", ""), "DATABASE_URL": self.database.url}
        ended = subprocess.run(command, input=lines, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, universal_newlines=True, timeout=START_S_MAX)
        if ended.returncode == 2:
            raise ChaosError("{}: {}".format(" ".join(command), ended.stderr))
        return ended.stderr if ended.returncode else None


# Schedules that are due each second while nodes are killed, frozen and cut off: each of their times has one process.
# The type of what they start.
TICKS = "ticks"
# A node that was frozen with the row of a schedule holds it until the server has noticed.
FIRED_S_MAX = 60
# With `all` no time is lost, however long nobody was there: a run is shorter than a thousand seconds between two looks.
SCHEDULES = {"tick-beside": ("allow", 1), "tick-in-line": ("skip", 2), "tick-third": ("allow", 3)}


def is_of_schedule(process_id: str) -> bool:
    """Whether a schedule has started it."""
    return process_id.partition("@")[0] in SCHEDULES


def begin_schedules(database: Database) -> None:
    for name, (overlap, seconds) in SCHEDULES.items():
        database.ask("SELECT process_orchestrator.add_schedule(jsonb_build_object('name', '{}', 'process_type', '{}', 'every', "
                     "'{}s', 'overlap', '{}', 'catch_up', 'all', 'catch_up_max', 1000, 'input', "
                     "'{{\"config\": {{\"times\": 0, \"pause\": 0, \"bytes\": 0}}}}'::jsonb))".format(name, TICKS, seconds, overlap))


def end_schedules(database: Database) -> List[str]:
    """All faults are healed: pauses each when what was due has fired."""
    since = uptime()
    while uptime() - since < FIRED_S_MAX:
        database.execute("UPDATE process_orchestrator.schedules SET paused_at = now() WHERE paused_at IS NULL AND next_at > now()")
        left = database.ask("SELECT name, next_at, due_at, problem FROM process_orchestrator.schedules WHERE paused_at IS NULL")
        if not left:
            return []
        time.sleep(0.1)
    return ["schedules have not fired {} s after the last fault: {}".format(FIRED_S_MAX, left)]


def schedule_problems(database: Database) -> List[str]:
    """Of each schedule all times from the first on have fired, each once, and all processes have completed, but
    for those that somebody has cancelled meanwhile."""
    wrong = []
    for name, (overlap, seconds) in SCHEDULES.items():
        row = database.ask(
            "SELECT count(*) AS n, count(*) FILTER (WHERE status IN ('COMPLETED', 'CANCELLED')) AS ended, "
            "count(DISTINCT input_data ->> 'scheduled_at') AS times, "
            "coalesce(extract(epoch FROM max((input_data ->> 'scheduled_at')::timestamptz) - "
            "min((input_data ->> 'scheduled_at')::timestamptz))::bigint / {} + 1, 0) AS all_times "
            "FROM process_orchestrator.processes WHERE starts_with(process_id, '{}@')".format(seconds, name))[0]
        state = database.ask("SELECT skipped_overlap, skipped_missed + skipped_taken AS skipped, coalesce(problem, '') AS problem "
                             "FROM process_orchestrator.schedules WHERE name = '{}'".format(name))[0]
        # While the one before runs `skip` may leave out some; nothing else may.
        may_lack = int(state["skipped_overlap"]) if overlap == "skip" else 0
        started = int(row["n"])
        if not started == int(row["ended"]) == int(row["times"]) > 0 \
                or not started <= int(row["all_times"]) <= started + may_lack or int(state["skipped"]) or state["problem"]:
            wrong.append("schedule {}: {} {}".format(name, dict(row), dict(state)))
    return wrong
