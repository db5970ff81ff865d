"""Runs nodes and a database under a seeded schedule of faults and checks what came of it. See scripts/chaos."""

import sys

sys.dont_write_bytecode = True

import argparse  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from typing import List, Optional  # noqa: E402

from database import DatabaseError  # noqa: E402
from run import Run  # noqa: E402
from settings import ChaosError, Settings  # noqa: E402

PROCESSES_PER_MINUTE = 1000


def main() -> int:
    settings = read_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    again = "scripts/chaos --seed {} --minutes {:g} --nodes {} --processes {}".format(
        settings.seed, settings.minutes, settings.nodes, settings.processes)
    if settings.old_nodes:
        again += " --old-program {} --old-nodes {}".format(settings.old_program, settings.old_nodes)
    print("chaos: {}".format(again), flush=True)
    run: Optional[Run] = None
    problems: Optional[List[str]] = None
    try:
        run = Run(settings)
        problems = run.carry_out()
    except (ChaosError, DatabaseError, subprocess.SubprocessError) as error:
        print("error: {}".format(error), file=sys.stderr)
    finally:
        if run:
            run.clean_up()
        if problems == [] and not settings.keep:
            shutil.rmtree(settings.folder)
        else:
            print("kept: {} (logs of the nodes, faults.log, journals); to replay it: {}".format(
                settings.folder, again), file=sys.stderr)
    return 0 if problems == [] else 1


def read_settings() -> Settings:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="what the schedule follows from (default: by chance)")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults go on (default: 1)")
    parser.add_argument("--nodes", type=int, default=3, help="how many nodes (default: 3)")
    parser.add_argument("--processes", type=int, help="how many processes in all (default: {} a minute)".format(
        PROCESSES_PER_MINUTE))
    parser.add_argument("--binary", required=True, help="the program (default: the release build)")
    parser.add_argument("--old-program", metavar="PROGRAM", help="the last release's program: some nodes run it "
                        "all the time, beside the others, on the schema of the newer one")
    parser.add_argument("--old-nodes", type=int, default=1, metavar="N", help="how many of the nodes run it "
                        "(default: 1)")
    parser.add_argument("--replay", metavar="PROGRAM", default="", help="the tests' program, which replays what "
                        "happened through the rules of the protocol (default: it is built)")
    parser.add_argument("--no-replay", action="store_true", help="nothing is replayed")
    parser.add_argument("--postgresql", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help="keep logs and journals also when all is well")
    options = parser.parse_args()
    if options.minutes <= 0 or options.nodes < 1 or (options.processes or 1) < 1:
        parser.error("--minutes, --nodes and --processes are more than nothing")
    if options.old_program and not 1 <= options.old_nodes < options.nodes:
        parser.error("--old-nodes is at least 1 and leaves nodes of the other kind")
    processes = options.processes or max(1, round(options.minutes * PROCESSES_PER_MINUTE))
    seed = options.seed if options.seed is not None else random.randrange(1000000)
    # As root the server runs as somebody else, who has to get in.
    replay = "" if options.no_replay or not options.replay else os.path.abspath(options.replay)
    folder = tempfile.mkdtemp(prefix="po-chaos.")
    os.chmod(folder, 0o711)
    return Settings(seed, options.minutes, options.nodes, processes, os.path.abspath(options.binary),
                    options.postgresql, folder, options.keep,
                    os.path.abspath(options.old_program) if options.old_program else "",
                    options.old_nodes if options.old_program else 0, replay)


if __name__ == "__main__":
    sys.exit(main())
