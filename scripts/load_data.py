#!/usr/bin/env python3
"""Task 1, load: reads a table of records, finds its columns and their types, rejects bad rows.

INPUT is JSON (an array of objects, or an object with such a list in it), JSON lines or CSV.
OUTPUT is a JSON document with the rows, what is known of the source, and every rejected row with
its reason. Passes on rows_loaded and rows_rejected.
"""

import argparse
import collections
import csv
import datetime
import hashlib
import io
import json
import math
import os

from example_support import WrongInput, plural, pass_on, read_bytes, run, say, write_document
from example_values import READERS, clean_text, column_type, flatten, is_missing

# Rejected rows written out with their reasons; beyond them only counts are kept, so that a wholly
# wrong file of millions of rows does not fill the document.
REJECTED_KEPT_MAX = 1000
EXCERPT_CHARS_MAX = 120
DELIMITERS = ",;\t|"
# How deep in a JSON document the list of records is looked for, as in {"data": {"orders": [...]}}.
LIST_DEPTH_MAX = 3

# A record as found: its number, its line (None where the format has none) and its value, or why it has none.
Record = collections.namedtuple("Record", "row line value reason detail")


def main():
    arguments = parse_arguments()
    if os.path.realpath(arguments.input) == os.path.realpath(arguments.output):
        raise WrongInput("{} is input and output at once: name another output".format(arguments.input))
    content = read_bytes(arguments.input)
    text = decode(arguments.input, content)
    table_format = arguments.format if arguments.format != "auto" else guess_format(arguments.input, text)
    say("reading {} as {} ({:,} bytes)".format(arguments.input, table_format.upper(), len(content)))

    records = FORMATS[table_format](arguments, text)
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


def guess_format(path, text):
    """`json`, `jsonl` or `csv`; a name that ends in a table's format is believed."""
    ending = os.path.splitext(path)[1].lower()
    if ending in (".csv", ".tsv"):
        return "csv"
    if ending in (".jsonl", ".ndjson"):
        return "jsonl"
    lines = [line for line in text.split("\n") if line.strip()]
    if lines[0].lstrip()[0] in "[{":
        return "jsonl" if len(lines) > 1 and is_object(lines[0]) else "json"
    if ending == ".json":
        return "json"
    if not any(delimiter in lines[0] for delimiter in DELIMITERS):
        raise WrongInput(
            "{} is not a table: it is neither JSON nor has its first line any of the separators "
            ", ; | or tab (a table of one column needs a name that ends in .csv)".format(path))
    return "csv"


def is_object(line):
    try:
        return isinstance(parse_json(line), dict)
    except (ValueError, RecursionError):
        return False


def parse_json(text):
    """JSON with numbers that Python cannot hold kept as text, to be judged like any other value."""
    return json.loads(
        text,
        parse_int=lambda digits: int(digits) if len(digits) <= 20 else digits,
        parse_float=lambda digits: float(digits) if math.isfinite(float(digits)) else digits,
        parse_constant=str)


def read_json(arguments, text):
    """The records of a JSON document."""
    try:
        document = parse_json(text)
    except RecursionError:
        raise WrongInput("{} is nested too deeply: give a table of records".format(arguments.input))
    except json.JSONDecodeError as error:
        raise WrongInput("{} is not JSON: {} at line {}, column {} (one object per line? then --format jsonl)".format(
            arguments.input, error.msg, error.lineno, error.colno))
    for number, value in enumerate(list_in(arguments, document), 1):
        yield json_record(number, None, value)


def list_in(arguments, document):
    """The list of records: the document itself, or the one inside that is named or longest."""
    if isinstance(document, list) and not arguments.table:
        found = document
    else:
        lists = dict(named_lists(document, "", 0))
        if arguments.table and arguments.table not in lists:
            raise WrongInput('{} holds no list "{}": it holds {}'.format(
                arguments.input, arguments.table, ", ".join(sorted(lists)) or "no list of records"))
        if not lists:
            raise WrongInput(
                "{} is not a table: it is JSON without a list of objects; give [{{...}}, {{...}}] "
                'or {{"records": [{{...}}, {{...}}]}}'.format(arguments.input))
        name = arguments.table or max(lists, key=lambda key: len(lists[key]))
        found = lists[name]
        say('records are the list "{}"{}'.format(
            name, "" if len(lists) == 1 else " (of {}; choose with --table)".format(", ".join(sorted(lists)))))
    if not found:
        raise WrongInput("{} holds an empty list: give at least one record".format(arguments.input))
    return found


def named_lists(value, name, depth):
    """Every list with objects in it, with its dotted name."""
    if isinstance(value, dict) and depth < LIST_DEPTH_MAX:
        for key, inner in value.items():
            yield from named_lists(inner, "{}.{}".format(name, key) if name else key, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield name, value


def read_jsonl(arguments, text):
    """The records of a file with a JSON object on every line."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for row, (number, line) in enumerate(lines, 1):
        try:
            yield json_record(row, number, parse_json(line))
        except json.JSONDecodeError as error:
            detail = "not JSON: {} at column {}".format(error.msg, error.colno)
            yield Record(row, number, line, "not JSON", detail)
        except RecursionError:
            yield Record(row, number, line, "not JSON", "nested too deeply")


def json_record(row, line, value):
    if not isinstance(value, dict):
        names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
        return Record(row, line, value, "not an object",
                      "not an object but {}".format(names.get(type(value), "a number")))
    try:
        return Record(row, line, flatten(value), None, None)
    except ValueError as error:
        return Record(row, line, value, "two values for one column", str(error))


def read_csv(arguments, text):
    """The records of a CSV table with a header line."""
    csv.field_size_limit(2**31 - 1)
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(DELIMITERS, key="".join(first.split('"')[::2]).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, row = None, 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "unexpected end of data" in str(error) or header is None:
                # What follows an open quote is all one field: the rest of the table would be lost.
                raise WrongInput("{}: line {}: a quote is opened and not closed as CSV asks: double quotes "
                                 "inside a quoted field".format(arguments.input, line))
            row += 1
            yield Record(row, line, "", "wrong quotes", "text follows a closing quote")
            continue
        if not fields:
            continue
        if header is None:
            header = name_columns(fields)
            continue
        row += 1
        if len(fields) != len(header):
            detail = "{} instead of {}".format(plural(len(fields), "field"), len(header))
            yield Record(row, line, delimiter.join(fields), "wrong number of fields", detail)
        else:
            yield Record(row, line, dict(zip(header, fields)), None, None)
    if not row:
        raise WrongInput("{} holds a header line and no rows: give at least one record".format(arguments.input))


def name_columns(fields):
    """The header's names; a blank or repeated one gets a number."""
    names = []
    for number, field in enumerate(fields, 1):
        name = base = clean_text(field) or "column_{}".format(number)
        copy = 1
        while name in names:
            copy += 1
            name = "{}_{}".format(base, copy)
        names.append(name)
    return names


FORMATS = {"json": read_json, "jsonl": read_jsonl, "csv": read_csv}


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
