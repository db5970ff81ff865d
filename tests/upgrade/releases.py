"""The two programs, and the server's: found, or built."""

import os
import subprocess
import sys

from settings import ChaosError

# The last release: schema version 6.
LAST = "88b4a5c"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = "process-orchestrator"


def build_old() -> str:
    """The last release as this repository's history has it, built in a directory of its own below target/."""
    folder = os.path.join(ROOT, "target", "release-" + LAST)
    program = os.path.join(folder, "target", "release", PROGRAM)
    if os.access(program, os.X_OK):
        return program
    print("==> building the last release, {}, in {}".format(LAST, folder), file=sys.stderr)
    source = os.path.join(folder, "source")
    os.makedirs(source, exist_ok=True)
    archive = subprocess.run(["git", "archive", LAST], cwd=ROOT, stdout=subprocess.PIPE)
    if archive.returncode != 0:
        raise ChaosError("commit {} is not in this repository's history: name a program with --old".format(LAST))
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    build(source, os.path.join(folder, "target"))
    return program


def build_new() -> str:
    print("==> building", file=sys.stderr)
    target = os.path.join(ROOT, "target")
    build(ROOT, target)
    return os.path.join(target, "release", PROGRAM)


def build(source: str, target: str) -> None:
    subprocess.run(["cargo", "build", "--release", "--locked", "--target-dir", target], cwd=source, check=True)


def postgresql() -> str:
    """The directory of a server's programs, looked for where the other scripts look."""
    found = subprocess.run(["sh", "-c", ". scripts/lib.sh; postgresql_dir"], cwd=ROOT, stdout=subprocess.PIPE,
                           universal_newlines=True)
    if found.returncode != 0:
        raise ChaosError("there is no PostgreSQL server: initdb and postgres are needed")
    return found.stdout.strip()
