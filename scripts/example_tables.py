"""The records of a table in each of its formats, as they stand in the file: nothing is judged yet.

Each format is a class whose `records()` gives all records from the first, however often it is called.
"""

import collections
import csv
import itertools
import json
import os

from example_json import DECODER, JsonDocument
from example_support import WrongInput, plural
from example_values import MISSING_WORDS, clean_text

DELIMITERS = ",;\t|"
# As much of a file as tells its format.
BEGINNING_CHARS = 1 << 16
# Deeper objects are kept as JSON text, so that a hostile document cannot exhaust the stack.
NESTING_MAX = 8

# A record as found: its number, its line (None where the format has none) and its value, or why it has none.
Record = collections.namedtuple("Record", "row line value reason detail")


def guess_format(source):
    """`json`, `jsonl` or `csv`; a name that ends in a table's format is believed."""
    ending = os.path.splitext(source.inner_name)[1].lower()
    if ending in (".csv", ".tsv"):
        return "csv"
    if ending in (".jsonl", ".ndjson"):
        return "jsonl"
    with source.open() as file:
        lines = [line for line in file.read(BEGINNING_CHARS).split("\n") if line.strip()]
    if lines and lines[0].lstrip()[0] in "[{":
        return "jsonl" if len(lines) > 1 and is_object(lines[0]) else "json"
    if ending == ".json":
        return "json"
    if not lines or not any(delimiter in lines[0] for delimiter in DELIMITERS):
        raise WrongInput(
            "{} is not a table: it is neither JSON nor has its first line any of the separators "
            ", ; | or tab (a table of one column needs a name that ends in .csv)".format(source.path))
    return "csv"


def is_object(line):
    try:
        return isinstance(DECODER.decode(line), dict)
    except (ValueError, RecursionError):
        return False


class JsonTable:
    """A JSON document with a list of records in it, or with columns."""

    commas_divide_fields = True

    def __init__(self, source, table):
        self.document = JsonDocument(source, table)

    def records(self):
        for row, value in enumerate(self.document.values(), 1):
            yield json_record(row, None, value)


class JsonLinesTable:
    """A file with a JSON object on every line."""

    commas_divide_fields = True

    def __init__(self, source, _table):
        self.source = source

    def records(self):
        row = 0
        with self.source.open() as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row += 1
                try:
                    yield json_record(row, number, DECODER.decode(line))
                except json.JSONDecodeError as error:
                    detail = "not JSON: {} at column {}".format(error.msg, error.colno)
                    yield Record(row, number, line, "not JSON", detail)
                except RecursionError:
                    yield Record(row, number, line, "not JSON", "nested too deeply")


def json_record(row, line, value):
    if isinstance(value, dict):
        return Record(row, line, flatten(value), None, None)
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return Record(row, line, value, "not an object",
                  "not an object but {}".format(names.get(type(value), "a number")))


def flatten(record):
    """A record with nested objects spread over columns such as `customer.city`. Lists become JSON text."""
    flat = {}

    def add(value, column, depth):
        if isinstance(value, dict) and (value or not depth) and depth < NESTING_MAX:
            for key, inner in value.items():
                add(inner, "{}.{}".format(column, key) if depth else key, depth + 1)
        else:
            name = unused_name(clean_text(column) or "(no name)", flat)
            flat[name] = json.dumps(value) if isinstance(value, (dict, list)) else value

    add(record, "", 0)
    return flat


def unused_name(name, used):
    """The name, with a number when it is used already."""
    free, copy = name, 1
    while free in used:
        copy += 1
        free = "{}_{}".format(name, copy)
    return free


class CsvTable:
    """A CSV table with a header line."""

    def __init__(self, source, _table):
        csv.field_size_limit(2**31 - 1)
        self.source = source
        with source.open() as file:
            first = next(line for line in file if line.strip())
            self.delimiter = max(DELIMITERS, key="".join(first.split('"')[::2]).count)
            self.commas_divide_fields = self.delimiter == ","
            file.seek(0)
            beginning = [fields for _, fields in itertools.islice(self.lines(file), 3)]
        header, first_rows = beginning[0], beginning[1:]
        if not first_rows:
            raise WrongInput("{} holds a header line and no rows: give at least one record".format(source.path))
        # Where all rows are longer than the header, they begin with a name of their own, as R writes it. If the first
        # row alone is longer, something in it should be quoted: there is room for it, as in pandas.
        named = max(0, min(len(trim(fields, len(header))) for fields in first_rows) - len(header))
        self.width = named + len(header)
        self.names = name_columns(["index"] * named + header + [""] * (len(first_rows[0]) - self.width))

    def records(self):
        with self.source.open() as file:
            for row, (line, fields) in enumerate(itertools.islice(self.lines(file), 1, None), 1):
                if len(fields) != self.width:
                    # Fields that are not there have no value, and delimiters at the end have no meaning.
                    fields = trim(fields, self.width) + [None] * (self.width - len(fields))
                if len(fields) > len(self.names):
                    detail = "{} instead of {}".format(plural(len(fields), "field"), self.width)
                    yield Record(row, line, self.delimiter.join(fields), "too many fields", detail)
                else:
                    values = [None if field in MISSING_WORDS else field for field in fields]
                    yield Record(row, line, dict(zip(self.names, values)), None, None)

    def lines(self, file):
        """The fields of every line that is not blank, with the number of the line."""
        text, at_end = "", False

        def fed():
            nonlocal text, at_end
            for text in file:
                yield text
            at_end = True

        reader = csv.reader(fed(), delimiter=self.delimiter)
        line = 1
        for fields in reader:
            if at_end:
                # What follows an open quote is all one field: the rest of the table would be lost.
                raise WrongInput("{}: line {}: a quote is opened and not closed as CSV asks: double quotes "
                                 "inside a quoted field".format(self.source.path, line))
            if len(fields) > 1 or text.strip():
                yield line, fields
            line = reader.line_num + 1


def trim(fields, width):
    """The fields without empty ones beyond the width."""
    while len(fields) > width and not fields[-1]:
        fields = fields[:-1]
    return fields


def name_columns(fields):
    """The header's names; a blank or repeated one gets a number."""
    names = {}
    for number, field in enumerate(fields, 1):
        names[unused_name(clean_text(field) or "column_{}".format(number), names)] = None
    return list(names)


FORMATS = {"json": JsonTable, "jsonl": JsonLinesTable, "csv": CsvTable}
