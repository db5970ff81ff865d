#!/usr/bin/env python3
"""Task 2, process: cleans the loaded rows, summarises every column, computes the quality score.

INPUT is what load_data.py wrote. OUTPUT is a JSON document with the cleaned rows and the summaries.
Cleaning trims text, turns spellings of "no value" into null and numbers into one form, and removes
rows that repeat an earlier one. Dates, times, codes and long ids stay as they are. Passes on
rows_processed, duplicates_removed and quality_score.

The score is 100 x validity x completeness x uniqueness: the share of rows that could be read and whose
values fit their columns, of values that are there (columns more than half empty are optional and not
counted), and of rows that do not repeat another. It is rounded down, so that rounding lifts no table
over a threshold.
"""

import argparse
import json
import math
import os

from example_duplicates import RowsSeen
from example_summaries import ColumnFigures
from example_support import Document, WrongInput, number_setting, pass_on, plural, run, say, write_rows
from example_values import cleaner

DEFAULT_BATCH_SIZE = "100"
# Progress lines for a table, however many batches it has.
PROGRESS_LINES_MAX = 20
# Values that are cleaned and wait to be counted, whatever the size of a batch.
WAITING_VALUES_MAX = 20_000


def main():
    arguments = parse_arguments()
    batch_size = number_setting("batch_size", arguments.batch_size, 1, whole=True)
    document = Document(arguments.input, "loaded data", "load_data.py")
    try:
        counts, quality = process(document, batch_size, arguments.output)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise WrongInput("{} was changed after load_data.py wrote it ({!r}): load it again".format(
            arguments.input, error))

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


def process(document, batch_size, output):
    """Writes the processed document of a loaded one, and gives its counts and quality."""
    loaded = document.values
    row_count, columns = loaded["row_count"], loaded["columns"]
    figures = [ColumnFigures(column, len(columns)) for column in columns]
    counts, quality = {}, {}

    def conclude():
        kept = figures[0].rows
        counts.update({
            "rows_read": row_count + loaded["rejected_count"],
            "rows_rejected": loaded["rejected_count"],
            "rows_unfit": loaded["unfit_count"],
            "rows_loaded": row_count,
            "duplicates_removed": row_count - kept,
            "rows_kept": kept,
        })
        summaries = [column.summary() for column in figures]
        quality.update(judge(counts, summaries))
        return {"counts": counts, "quality": quality, "columns": summaries}

    before = {"kind": "processed data", "source": loaded["source"], "settings": {"batch_size": batch_size}}
    before.update((key, loaded[key]) for key in ("rejected_by_reason", "rejected", "unfit_by_reason", "unfit"))
    write_rows(output, before, clean(document.rows(), columns, figures, row_count, batch_size), conclude)
    return counts, quality


def clean(rows, columns, figures, row_count, batch_size):
    """The clean rows as JSON, without those that repeat an earlier one; their values go to the columns' figures."""
    cleaners = [(column["name"], cleaner(column)) for column in columns]
    names = [column["name"] for column in columns]
    seen, waiting, waiting_max = RowsSeen(), [], max(1, WAITING_VALUES_MAX // len(columns))
    batches = math.ceil(row_count / batch_size)
    between_lines = batch_size * math.ceil(batches / PROGRESS_LINES_MAX)

    def count_waiting():
        for column, values in zip(figures, zip(*waiting)):
            column.add(values)
        waiting.clear()

    for number, row in enumerate(rows, 1):
        values = [clean_value(row.get(name)) for name, clean_value in cleaners]
        text = json.dumps(dict(zip(names, values)))
        if seen.add(text):
            yield text
            waiting.append(values)
            if len(waiting) >= waiting_max:
                count_waiting()
        if number % between_lines == 0 or number == row_count:
            say("batch {} of {}: {} of {:,} cleaned".format(
                math.ceil(number / batch_size), batches, plural(number, "row"), row_count))
    count_waiting()


def judge(counts, summaries):
    """The quality score and its three factors."""
    required = [column for column in summaries if not column["optional"]] or summaries
    present = sum(column["present"] for column in required)
    factors = {
        "validity": (counts["rows_loaded"] - counts["rows_unfit"]) / counts["rows_read"],
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
