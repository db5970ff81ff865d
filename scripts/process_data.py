#!/usr/bin/env python3
"""Task 2, process: cleans the loaded rows, summarises every column, computes the quality score.

INPUT is what load_data.py wrote. OUTPUT is a JSON document with the cleaned rows and the summaries.
Cleaning trims text, turns spellings of "no value" into null, numbers and dates into one form, and
removes rows that repeat an earlier one. Passes on rows_processed, duplicates_removed and
quality_score.

The score is 100 x validity x completeness x uniqueness: the share of rows that could be read, of
values that are there (columns more than half empty are optional and not counted), and of rows that
do not repeat another. It is rounded down, so that rounding lifts no table over a threshold.
"""

import argparse
import math
import os

from example_summaries import summarise
from example_support import (
    WrongInput, number_setting, pass_on, plural, read_document, run, say, write_document,
)
from example_values import READERS, clean_text, is_missing

DEFAULT_BATCH_SIZE = "100"
# Progress lines for a table, however many batches it has.
PROGRESS_LINES_MAX = 20


def main():
    arguments = parse_arguments()
    batch_size = number_setting("batch_size", arguments.batch_size, 1, whole=True)
    loaded = read_document(arguments.input, "loaded data", "load_data.py")
    try:
        document = process(loaded, batch_size)
    except (KeyError, TypeError, AttributeError) as error:
        raise WrongInput("{} was changed after load_data.py wrote it ({!r}): load it again".format(
            arguments.input, error))
    write_document(arguments.output, document)

    counts, quality = document["counts"], document["quality"]
    say("removed {}, kept {}".format(
        plural(counts["duplicates_removed"], "duplicate"), plural(counts["rows_kept"], "row")))
    say("quality score {} (validity {validity:.2%}, completeness {completeness:.2%}, "
        "uniqueness {uniqueness:.2%})".format(quality["score"], **quality))
    pass_on(rows_processed=counts["rows_kept"], duplicates_removed=counts["duplicates_removed"],
            quality_score=quality["score"])
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done, 1 a fault that may pass, 2 wrong usage or input.")
    parser.add_argument("input", metavar="INPUT", help="the document that load_data.py wrote")
    parser.add_argument("output", metavar="OUTPUT", help="the JSON document to write")
    parser.add_argument("--batch-size", metavar="N", default=os.environ.get("BATCH_SIZE", DEFAULT_BATCH_SIZE),
                        help="rows cleaned at a time (default: the variable BATCH_SIZE, else 100)")
    return parser.parse_args()


def process(loaded, batch_size):
    """The processed document of a loaded one."""
    columns = loaded["columns"]
    rows = clean(loaded["rows"], columns, batch_size)
    summaries = [summarise(column, [row[column["name"]] for row in rows]) for column in columns]
    counts = {
        "rows_read": loaded["row_count"] + loaded["rejected_count"],
        "rows_rejected": loaded["rejected_count"],
        "rows_loaded": loaded["row_count"],
        "duplicates_removed": loaded["row_count"] - len(rows),
        "rows_kept": len(rows),
    }
    return {
        "kind": "processed data",
        "source": loaded["source"],
        "settings": {"batch_size": batch_size},
        "counts": counts,
        "quality": judge(counts, summaries),
        "rejected_by_reason": loaded["rejected_by_reason"],
        "rejected": loaded["rejected"],
        "columns": summaries,
        "rows": rows,
    }


def clean(rows, columns, batch_size):
    """The rows with every value in its column's form and without repeated rows; the first one stays."""
    kept, seen = [], set()
    batches = math.ceil(len(rows) / batch_size)
    between_lines = math.ceil(batches / PROGRESS_LINES_MAX)
    for batch in range(batches):
        for row in rows[batch * batch_size:(batch + 1) * batch_size]:
            values = tuple(clean_value(row.get(column["name"]), column["type"]) for column in columns)
            if values not in seen:
                seen.add(values)
                kept.append({column["name"]: value for column, value in zip(columns, values)})
        if (batch + 1) % between_lines == 0 or batch + 1 == batches:
            done = min((batch + 1) * batch_size, len(rows))
            say("batch {} of {}: {} of {:,} cleaned".format(batch + 1, batches, plural(done, "row"), len(rows)))
    return kept


def clean_value(value, column_type):
    """One value in its column's form, or None when it is missing."""
    if is_missing(value, column_type):
        return None
    if column_type in READERS:
        return READERS[column_type](value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean_text(str(value))


def judge(counts, summaries):
    """The quality score and its three factors."""
    required = [column for column in summaries if not column["optional"]] or summaries
    present = sum(column["present"] for column in required)
    factors = {
        "validity": counts["rows_loaded"] / counts["rows_read"],
        "completeness": present / (counts["rows_kept"] * len(required)),
        "uniqueness": counts["rows_kept"] / counts["rows_loaded"],
    }
    score = 100 * factors["validity"] * factors["completeness"] * factors["uniqueness"]
    # A billionth of a hundredth is given back: it is the error of the multiplication.
    quality = {"score": math.floor(score * 100 + 1e-9) / 100}
    quality.update((name, round(value, 6)) for name, value in factors.items())
    return quality


if __name__ == "__main__":
    run(main)
