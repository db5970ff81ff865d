"""A PostgreSQL server of the run's own, restarted by the faults."""

import csv
import io
import os
import pwd
import shutil
import subprocess
import threading
from typing import Dict, List, Optional

from settings import ChaosError

USER = "chaos"
START_S_MAX = 120
# The program that asks is not a node: its sessions are left alone by the faults.
APPLICATION = "chaos-script"

# Nothing here has to outlive the machine, and restarts have to be quick.
SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0777",
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "log_connections": "off",
    # When a result was committed: tests/rolling_upgrade looks for the longest time without any.
    "track_commit_timestamp": "on",
}


class Database:
    def __init__(self, folder: str, programs: str, settings: Optional[Dict[str, str]] = None) -> None:
        """`settings` win over those of this file."""
        self.settings = {**SETTINGS, **(settings or {})}
        # The programs of a server lie together; what leads to one of them may lie anywhere.
        self.programs = os.path.dirname(os.path.realpath(os.path.join(programs, "initdb")))
        psql = os.path.join(self.programs, "psql")
        self.psql = psql if os.path.exists(psql) else shutil.which("psql")
        if self.psql is None or not os.path.exists(os.path.join(self.programs, "pg_ctl")):
            raise ChaosError("PostgreSQL's psql or pg_ctl is missing beside {}/initdb".format(self.programs))
        self.data = os.path.join(folder, "postgresql")
        self.sockets = os.path.join(folder, "socket")
        self.log = os.path.join(self.data, "server.log")
        # A restart takes the server away from whoever else wants to restart it.
        self.restarting = threading.Lock()
        self.account = unprivileged_account() if os.geteuid() == 0 else None
        for path in (self.data, self.sockets):
            os.mkdir(path, 0o711)
            if self.account:
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        os.chmod(self.data, 0o700)

    @property
    def socket(self) -> str:
        return os.path.join(self.sockets, ".s.PGSQL.5432")

    @property
    def url(self) -> str:
        """For programs of this machine that do not go through a node's network."""
        return "host={} port=5432 user={} dbname=postgres application_name={}".format(
            self.sockets, USER, APPLICATION)

    def start(self) -> None:
        self._as_server("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        with open(os.path.join(self.data, "postgresql.conf"), "a") as file:
            file.write("unix_socket_directories = '{}'\n".format(self.sockets))
            file.writelines("{} = {}\n".format(*pair) for pair in self.settings.items())
        self._control("start")

    def restart(self, mode: str) -> None:
        with self.restarting:
            self._control("restart", "-m", mode)

    def stop(self) -> None:
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            self._control("stop", "-m", "immediate")

    def _control(self, *words: str) -> None:
        self._as_server("pg_ctl", "-D", self.data, "-l", self.log, "-t", str(START_S_MAX), "-w", *words)

    def _as_server(self, program: str, *words: str) -> None:
        """PostgreSQL refuses to run as root, so root becomes somebody else."""
        account = self.account

        def become() -> None:
            if account:
                os.setgroups([])
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            os.setsid()

        command = [os.path.join(self.programs, program), *words]
        # Not a pipe: the server would keep it open for its life.
        with open(os.path.join(os.path.dirname(self.data), program + ".log"), "ab") as log:
            ended = subprocess.run(command, preexec_fn=become, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT)
        if ended.returncode != 0:
            raise ChaosError("{} failed: see {} and {}".format(" ".join(command), log.name, self.log))

    def ask(self, sql: str) -> List[Dict[str, str]]:
        """The rows of a query, every value as text; null is an empty text."""
        out = self.execute("COPY ({}) TO STDOUT (FORMAT csv, HEADER)".format(sql))
        return list(csv.DictReader(io.StringIO(out)))

    def execute(self, sql: str) -> str:
        environment = {"PATH": os.environ.get("PATH", ""), "PGCONNECT_TIMEOUT": "10"}
        command = [self.psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        ended = subprocess.run(command, input=sql, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, universal_newlines=True, timeout=300)
        if ended.returncode != 0:
            raise DatabaseError(ended.stderr.strip())
        return ended.stdout

    def terminate_sessions(self, rounds: int, pause_s: float, share: float, seed: int) -> None:
        """Ends a share of the nodes' sessions again and again."""
        self.execute("""
            SELECT setseed({seed});
            DO $$ BEGIN
                FOR i IN 1..{rounds} LOOP
                    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name LIKE 'process-orchestrator%' AND random() < {share};
                    PERFORM pg_sleep({pause}), pg_stat_clear_snapshot();
                END LOOP;
            END $$""".format(seed=(seed % 1000) / 1000, rounds=rounds, share=share, pause=pause_s))

    def try_ask(self, sql: str) -> Optional[List[Dict[str, str]]]:
        """As `ask`, or `None` while the server is away."""
        try:
            return self.ask(sql)
        except DatabaseError:
            return None


class DatabaseError(Exception):
    """The server refused or is away; its own words."""


def unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ChaosError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: "
                     "run this as an ordinary user")
