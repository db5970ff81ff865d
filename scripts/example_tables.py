"""The records of a table in each of its formats, as they stand in the file: nothing is judged yet."""

import collections
import csv
import io
import json
import math
import os

from example_support import WrongInput, plural, say
from example_values import clean_text, flatten

DELIMITERS = ",;\t|"
# How deep in a JSON document the list of records is looked for, as in {"data": {"orders": [...]}}.
LIST_DEPTH_MAX = 3

# A record as found: its number, its line (None where the format has none) and its value, or why it has none.
Record = collections.namedtuple("Record", "row line value reason detail")


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


def read_json(path, text, table):
    """The records of a JSON document."""
    try:
        document = parse_json(text)
    except RecursionError:
        raise WrongInput("{} is nested too deeply: give a table of records".format(path))
    except json.JSONDecodeError as error:
        raise WrongInput("{} is not JSON: {} at line {}, column {} (one object per line? then --format jsonl)".format(
            path, error.msg, error.lineno, error.colno))
    for number, value in enumerate(list_in(path, document, table), 1):
        yield json_record(number, None, value)


def list_in(path, document, table):
    """The list of records: the document itself, or the one inside that is named or longest."""
    if isinstance(document, list) and not table:
        found = document
    else:
        lists = dict(named_lists(document, "", 0))
        if table and table not in lists:
            raise WrongInput('{} holds no list "{}": it holds {}'.format(
                path, table, ", ".join(sorted(lists)) or "no list of records"))
        if not lists:
            raise WrongInput(
                "{} is not a table: it is JSON without a list of objects; give [{{...}}, {{...}}] "
                'or {{"records": [{{...}}, {{...}}]}}'.format(path))
        name = table or max(lists, key=lambda key: len(lists[key]))
        found = lists[name]
        say('records are the list "{}"{}'.format(
            name, "" if len(lists) == 1 else " (of {}; choose with --table)".format(", ".join(sorted(lists)))))
    if not found:
        raise WrongInput("{} holds an empty list: give at least one record".format(path))
    return found


def named_lists(value, name, depth):
    """Every list with objects in it, with its dotted name."""
    if isinstance(value, dict) and depth < LIST_DEPTH_MAX:
        for key, inner in value.items():
            yield from named_lists(inner, "{}.{}".format(name, key) if name else key, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield name, value


def read_jsonl(path, text, table):
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


def read_csv(path, text, table):
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
                                 "inside a quoted field".format(path, line))
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
        raise WrongInput("{} holds a header line and no rows: give at least one record".format(path))


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
