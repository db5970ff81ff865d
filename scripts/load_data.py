#!/usr/bin/env python3
"""Task 1, load: reads a table of records, finds its columns and their types, rejects what is no row.

INPUT is JSON (an array of objects, an object with such a list in it, or an object of columns), JSON
lines or CSV, plain or packed (.gz, .bz2, .xz, .zip, .tar). What pandas reads without options gives the
same rows. OUTPUT is a JSON document with the rows, what is known of the source, and every rejected row
with its reason. A row with a value that does not fit its column ("see invoice" among numbers) is kept
as it is, and noted too. Passes on rows_loaded and rows_rejected.
"""

import argparse
import collections
import json
import os

from example_source import Source
from example_support import WrongInput, pass_on, plural, run, say, write_rows
from example_tables import FORMATS, guess_format
from example_values import clean_text, cleaner, describe_column, fits, shape

# Faulty rows written out with their reasons; beyond them only counts are kept, so that a wholly
# wrong file of millions of rows does not fill the document.
FLAWS_KEPT_MAX = 1000
EXCERPT_CHARS_MAX = 120


def main():
    arguments = parse_arguments()
    if os.path.realpath(arguments.input) == os.path.realpath(arguments.output):
        raise WrongInput("{} is input and output at once: name another output".format(arguments.input))
    source = Source(arguments.input)
    table_format = arguments.format if arguments.format != "auto" else guess_format(source)
    say("reading {} as {} ({:,} bytes)".format(arguments.input, table_format.upper(), source.bytes))

    # Twice, so that memory holds no table: the first time for the columns, the second for the rows.
    table = FORMATS[table_format](source, arguments.table)
    rejected, unfit = Flaws("rejected"), Flaws("kept")
    columns, row_count = find_columns(table, rejected)
    if not row_count:
        raise WrongInput(rejected.nothing_left(arguments.input))
    if not columns:
        raise WrongInput("{}: its objects are empty: give records with values".format(arguments.input))
    write_rows(
        arguments.output,
        {"kind": "loaded data", "source": source.describe(table_format), "columns": columns},
        json_rows(table, columns, row_count, unfit),
        lambda: {
            "row_count": row_count,
            "rejected_count": rejected.total,
            "rejected_by_reason": rejected.by_reason(),
            "rejected": rejected.kept,
            "unfit_count": unfit.total,
            "unfit_by_reason": unfit.by_reason(),
            "unfit": unfit.kept,
        })
    rejected.tell()
    unfit.tell()
    say("loaded {} of {} into {}".format(
        plural(row_count, "row"), plural(len(columns), "column"), arguments.output))
    pass_on(rows_loaded=row_count, rows_rejected=rejected.total)
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


class Flaws:
    """Rows with a fault, why, and what is done about them."""

    def __init__(self, consequence):
        self.consequence = consequence
        self.reasons = collections.Counter()
        self.kept = []

    @property
    def total(self):
        return sum(self.reasons.values())

    def by_reason(self):
        return dict(sorted(self.reasons.items()))

    def add(self, record, reason, detail):
        self.reasons[reason] += 1
        if len(self.kept) < FLAWS_KEPT_MAX:
            value = record.value if isinstance(record.value, str) else json.dumps(record.value)
            entry = {"row": record.row, "reason": detail, "excerpt": clean_text(value[:EXCERPT_CHARS_MAX])}
            if record.line is not None:
                entry["line"] = record.line
            self.kept.append(entry)

    def tell(self):
        for entry in self.kept[:10]:
            say("{} {}: {}".format(self.consequence, place(entry), entry["reason"]))
        if self.total > 10:
            say("{} {} in all: {}".format(self.consequence, plural(self.total, "row"), ", ".join(
                "{} {}".format(number, reason) for reason, number in self.reasons.most_common())))

    def nothing_left(self, path):
        first = self.kept[0]
        return "{}: not one of {} can be used; {}: {}".format(
            path, plural(self.total, "row"), place(first), first["reason"])


def place(entry):
    line = " (line {})".format(entry["line"]) if "line" in entry else ""
    return "row {}{}".format(entry["row"], line)


def find_columns(table, rejected):
    """The columns with their types, in the order in which they appear, and the number of rows that have them."""
    shapes, row_count = collections.defaultdict(collections.Counter), 0
    for record in table.records():
        if record.reason:
            rejected.add(record, record.reason, record.detail)
            continue
        row_count += 1
        for name, value in record.value.items():
            shapes[name][shape(value)] += 1
    return [describe_column(name, counts, table.commas_divide_fields) for name, counts in shapes.items()], row_count


def json_rows(table, columns, row_count, unfit):
    """The rows as JSON. Those with a value that does not fit its column are noted, and kept as they are."""
    doubtful = [(column["name"], column["type"], cleaner(column)) for column in columns if column.get("unfit")]
    for record in table.records():
        if record.reason:
            continue
        row_count -= 1
        for name, kind, clean in doubtful:
            value = record.value.get(name)
            if value is not None and not fits(clean(value), kind):
                unfit.add(record, "not a {}".format(kind), 'column "{}": {} is not a {}'.format(
                    name, json.dumps(value, ensure_ascii=False)[:EXCERPT_CHARS_MAX], kind))
                break
        yield json.dumps(record.value)
    if row_count:
        raise OSError(None, "it was changed while it was read", table.source.path)


if __name__ == "__main__":
    run(main)
