"""What the four scripts of the example share: their errors, files and way to pass values on.

Exit codes, the same in all four (the process type names the ones that no retry can heal):
0 done, 1 a fault of the machine that may pass (disk full, say), 2 wrong usage or input,
3 the data does not reach its quality threshold (analyze_results.py alone).
"""

import json
import os
import signal
import sys

EXIT_FAULT = 1
EXIT_WRONG_INPUT = 2
EXIT_BELOW_THRESHOLD = 3


class WrongInput(Exception):
    """Something the caller must correct: the message names the thing, the value and the remedy."""


def run(main):
    """Calls `main()` for the exit code of this program and turns its errors into messages."""
    # A task that is stopped ends like one that fails: what it was writing is cleaned away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for stream in (sys.stdout, sys.stderr):
        # The locale of a service is often plain ASCII; a name it cannot show must not end the task.
        stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except WrongInput as error:
        complain(error)
        sys.exit(EXIT_WRONG_INPUT)
    except OSError as error:
        complain("failed to use {}: {}".format(error.filename or "a file", error.strerror or error))
        sys.exit(EXIT_FAULT)
    except MemoryError:
        complain("the table does not fit into memory: split the input")
        sys.exit(EXIT_FAULT)


def complain(message):
    """Prints an error, with the script's name before it."""
    sys.stdout.flush()
    print("{}: {}".format(os.path.basename(sys.argv[0]), message), file=sys.stderr, flush=True)


def say(message):
    """Prints a line of progress at once, for whoever follows the task's output."""
    print(message, flush=True)


def plural(number, noun):
    """`3 rows`, `1 row`."""
    return "{:,} {}{}".format(number, noun, "" if number == 1 else "s")


def open_input(path):
    """Opens a file for its bytes; what it cannot be opened for is told with a remedy."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise WrongInput("no such file: {}: check the path (relative ones start at {})".format(path, os.getcwd()))
    except IsADirectoryError:
        raise WrongInput("{} is a directory: name a file in it".format(path))
    except NotADirectoryError:
        raise WrongInput("{}: a part of this path is not a directory".format(path))
    except PermissionError:
        raise WrongInput("no permission to read {}: allow it to the user that runs the tasks".format(path))
    except ValueError as error:
        raise WrongInput("{!r} cannot be the name of a file: {}".format(path, error))


class Document:
    """A JSON document that the task before has written. Its rows, one a line, are read when they are asked for."""

    ROWS_BEGIN, ROWS_END = b'"rows": [\n', b"],\n"

    def __init__(self, path, kind, made_by):
        self.path, self.first_row, others = path, None, []
        with open_input(path) as file:
            for line in file:
                if line == self.ROWS_BEGIN and self.first_row is None:
                    self.first_row = file.tell()
                    for line in file:
                        if line == self.ROWS_END:
                            break
                else:
                    others.append(line)
        try:
            self.values = json.loads(b"".join(others).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise WrongInput("{} is not JSON ({}): give the file that {} wrote".format(path, error, made_by))
        if not isinstance(self.values, dict) or self.values.get("kind") != kind:
            raise WrongInput('{} is not a "{}" document: give the file that {} wrote'.format(path, kind, made_by))

    def rows(self):
        if self.first_row is None:  # somebody has changed its layout
            yield from self.values["rows"]
            return
        with open_input(self.path) as file:
            file.seek(self.first_row)
            for line in file:
                if line == self.ROWS_END:
                    return
                yield json.loads(line.rstrip(b",\n").decode("ascii"))


def write_document(path, document):
    """Writes a JSON document, the same bytes for the same content."""
    write_text(path, [json.dumps(document, indent=1, allow_nan=False) + "\n"])


def write_rows(path, before, rows, after):
    """Writes a `Document`: members, rows given as JSON text, and the members that `after()` gives once they are written."""
    def pieces():
        yield "{\n"
        yield from ("{}: {},\n".format(json.dumps(name), json.dumps(value)) for name, value in before.items())
        yield '"rows": [\n'
        divider = ""
        for row in rows:
            yield divider + row
            divider = ",\n"
        yield "\n],\n"
        yield ",\n".join("{}: {}".format(json.dumps(name), json.dumps(value, allow_nan=False))
                         for name, value in after().items())
        yield "\n}\n"

    write_text(path, pieces())


def write_text(path, pieces):
    """Writes a file that is there whole or not at all; makes its directory."""
    directory = os.path.dirname(os.path.abspath(path))
    partial = os.path.join(directory, ".{}.{}.partial".format(os.path.basename(path), os.getpid()))
    try:
        os.makedirs(directory, exist_ok=True)
        if os.path.isdir(path):
            raise WrongInput("{} is a directory: name a file to write".format(path))
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            # The orchestrator's record that the task succeeded is durable, so its result must be too.
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (FileExistsError, NotADirectoryError):
        raise WrongInput("cannot make directory {}: a part of this path is a file".format(directory))
    except PermissionError:
        raise WrongInput("no permission to write {}: allow it to the user that runs the tasks".format(path))
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def pass_on(**values):
    """Hands values to the tasks that follow: they find them as `${processContext.name}`."""
    path = os.environ.get("PROCESS_CONTEXT_FILE")
    if not path:
        return
    with open(path, "a", encoding="utf-8") as file:
        for name, value in values.items():
            file.write("{}={}\n".format(name, value))


def number_setting(option, text, low, high=None, whole=False):
    """Reads a setting that is a number from `low` to `high`."""
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = None
    # The comparison is false for NaN too.
    if value is not None and value >= low and (high is None or value <= high):
        return value
    span = "of at least {}".format(low) if high is None else "from {} to {}".format(low, high)
    raise WrongInput('{} is "{}": give a {}number {}'.format(option, text, "whole " if whole else "", span))
