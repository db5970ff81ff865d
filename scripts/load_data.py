#!/usr/bin/env python3
"""Task 1, load: reads a table of records, finds its columns and their types, rejects bad rows.

INPUT is JSON (an array of objects, or an object with such a list in it), JSON lines or CSV.
OUTPUT is a JSON document with the rows, what is known of the source, and every rejected row with
its reason. Passes on rows_loaded and rows_rejected.
"""

import argparse
import collections
import datetime
import hashlib
import json
import os

from example_support import WrongInput, plural, pass_on, read_bytes, run, say, write_document
from example_tables import FORMATS, guess_format
from example_values import READERS, clean_text, column_type, is_missing

# Rejected rows written out with their reasons; beyond them only counts are kept, so that a wholly
# wrong file of millions of rows does not fill the document.
REJECTED_KEPT_MAX = 1000
EXCERPT_CHARS_MAX = 120


def main():
    arguments = parse_arguments()
    if os.path.realpath(arguments.input) == os.path.realpath(arguments.output):
        raise WrongInput("{} is input and output at once: name another output".format(arguments.input))
    content = read_bytes(arguments.input)
    text = decode(arguments.input, content)
    table_format = arguments.format if arguments.format != "auto" else guess_format(arguments.input, text)
    say("reading {} as {} ({:,} bytes)".format(arguments.input, table_format.upper(), len(content)))

    records = FORMATS[table_format](arguments.input, text, arguments.table)
    rejections = Rejections()
    rows = list(accepted(records, rejections))
    columns = find_columns([values for _, values in rows])
    rows = list(fitting(rows, columns, rejections))
    if not rows:
        raise WrongInput(rejections.nothing_left(arguments.input))

    write_document(arguments.output, {
        "kind": "loaded data",
        "source": describe_source(arguments.input, content, table_format),
        "columns": columns,
        "row_count": len(rows),
        "rejected_count": rejections.total,
        "rejected_by_reason": dict(sorted(rejections.by_reason.items())),
        "rejected": sorted(rejections.kept, key=lambda entry: entry["row"]),
        "rows": [values for _, values in rows],
    })
    rejections.tell()
    say("loaded {} of {} into {}".format(
        plural(len(rows), "row"), plural(len(columns), "column"), arguments.output))
    pass_on(rows_loaded=len(rows), rows_rejected=rejections.total)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done, 1 a fault that may pass, 2 wrong usage or input.")
    parser.add_argument("input", metavar="INPUT", help="the file to read")
    parser.add_argument("output", metavar="OUTPUT", help="the JSON document to write")
    parser.add_argument("--format", choices=["auto"] + sorted(FORMATS), default="auto",
                        help="the input's format (auto: by its content and the end of its name)")
    parser.add_argument("--table", metavar="NAME",
                        help="the list to read when a JSON object holds several (else the longest)")
    return parser.parse_args()


def decode(path, content):
    """The text of the file, or what is wrong with its encoding."""
    if not content.strip():
        raise WrongInput("{} is empty: give a table of records (JSON, JSON lines or CSV)".format(path))
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in content and not wide:
        raise WrongInput("{} is not text (it holds NUL bytes): give JSON, JSON lines or CSV".format(path))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrongInput(
            "{} is not UTF-8: byte 0x{:02x} in line {}: convert it, for instance with "
            "iconv -f ISO-8859-1 -t UTF-8".format(path, content[error.start], line))


class Rejections:
    """The rows that are left out, and why."""

    def __init__(self):
        self.total = 0
        self.by_reason = collections.Counter()
        self.kept = []

    def add(self, record, reason, detail):
        self.total += 1
        self.by_reason[reason] += 1
        if len(self.kept) < REJECTED_KEPT_MAX:
            value = record.value if isinstance(record.value, str) else json.dumps(record.value)
            entry = {"row": record.row, "reason": detail, "excerpt": clean_text(value)[:EXCERPT_CHARS_MAX]}
            if record.line is not None:
                entry["line"] = record.line
            self.kept.append(entry)

    def tell(self):
        for entry in sorted(self.kept, key=lambda entry: entry["row"])[:10]:
            say("rejected {}: {}".format(place(entry), entry["reason"]))
        if self.total > 10:
            say("rejected {} in all: {}".format(plural(self.total, "row"), ", ".join(
                "{} {}".format(number, reason) for reason, number in self.by_reason.most_common())))

    def nothing_left(self, path):
        first = min(self.kept, key=lambda entry: entry["row"])
        return "{}: not one of {} can be used; {}: {}".format(
            path, plural(self.total, "row"), place(first), first["reason"])


def place(entry):
    line = " (line {})".format(entry["line"]) if "line" in entry else ""
    return "row {}{}".format(entry["row"], line)


def accepted(records, rejections):
    """(record, values) of the records that are rows; the others are rejected."""
    for record in records:
        if record.reason:
            rejections.add(record, record.reason, record.detail)
        elif all(is_missing(value) for value in record.value.values()):
            rejections.add(record, "empty", "empty: no column has a value")
        else:
            yield record, record.value


def find_columns(rows):
    """Name and type of every column, in the order in which they appear."""
    values = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return [{"name": name, "type": column_type(present)} for name, present in values.items()]


def fitting(rows, columns, rejections):
    """The rows whose values have the types of their columns; the others are rejected."""
    typed = [(column["name"], column["type"]) for column in columns if column["type"] in READERS]
    for record, values in rows:
        for name, kind in typed:
            value = values.get(name)
            if not is_missing(value, kind) and READERS[kind](value) is None:
                rejections.add(record, "not a {}".format(kind), 'column "{}": {} is not a {}'.format(
                    name, json.dumps(value, ensure_ascii=False)[:EXCERPT_CHARS_MAX], kind))
                break
        else:
            yield record, values


def describe_source(path, content, table_format):
    modified = datetime.datetime.fromtimestamp(int(os.path.getmtime(path)), datetime.timezone.utc)
    return {
        "file": path,
        "format": table_format,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


if __name__ == "__main__":
    run(main)
