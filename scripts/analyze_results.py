#!/usr/bin/env python3
"""Task 4, analyze: checks the figures that a report holds and gives a verdict on the data.

INPUT is the HTML that generate_report.py wrote. OUTPUT is a JSON document with every check and the
verdict: PASSED, PASSED_WITH_WARNINGS or FAILED (the quality score is below the threshold). The
variable QUALITY_SCORE, when set, is the score that process_data.py passed on: a report with another
one is not of this process and refused. Passes on verdict and warnings.
"""

import argparse
import html.parser
import json
import os

from example_support import (
    EXIT_BELOW_THRESHOLD, WrongInput, complain, number_setting, open_input, pass_on, plural, run, say,
    write_document,
)

DEFAULT_THRESHOLD = "95.0"
# Shares from which a column is worth a warning: a fifth of a required column missing is no accident,
# and one value in ten far from the rest says that the column mixes things.
MISSING_WARN_MIN = 0.20
OUTLIERS_WARN_MIN = 0.10


def main():
    arguments = parse_arguments()
    threshold = number_setting("quality_threshold", arguments.threshold, 0, 100)
    figures = read_report(arguments.input)
    try:
        check_belonging(arguments, figures)
        checks = [check_score(figures, threshold)] + check_factors(figures, threshold)
        for column in figures["columns"]:
            checks += check_column(column)
        analysis = conclude(arguments.input, figures, threshold, checks)
    except (KeyError, TypeError, AttributeError) as error:
        raise WrongInput("{} was changed after generate_report.py wrote it ({!r}): generate it again".format(
            arguments.input, error))
    write_document(arguments.output, analysis)

    for check in checks:
        if check["result"] != "ok":
            say("{}: {}".format(check["result"], check["detail"]))
    say("verdict {}: quality score {}, threshold {}, {}".format(
        analysis["verdict"], analysis["quality_score"], threshold, plural(analysis["warnings"], "warning")))
    pass_on(verdict=analysis["verdict"], warnings=analysis["warnings"])
    if analysis["verdict"] == "FAILED":
        complain("{}; {} says why".format(checks[0]["detail"], arguments.output))
        return EXIT_BELOW_THRESHOLD
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 passed, 1 a fault that may pass, 2 wrong usage or input, 3 below the threshold.")
    parser.add_argument("input", metavar="INPUT", help="the report that generate_report.py wrote")
    parser.add_argument("output", metavar="OUTPUT", help="the JSON document to write")
    parser.add_argument("--threshold", metavar="SCORE",
                        default=os.environ.get("QUALITY_THRESHOLD", DEFAULT_THRESHOLD),
                        help="lowest score that passes, 0 to 100 (default: the variable QUALITY_THRESHOLD, else 95.0)")
    parser.add_argument("--expected-score", metavar="SCORE", default=os.environ.get("QUALITY_SCORE"),
                        help="the score the report must hold (default: the variable QUALITY_SCORE)")
    return parser.parse_args()


class ReportData(html.parser.HTMLParser):
    """Finds the JSON that stands in the report."""

    def __init__(self):
        super().__init__()
        self.inside = False
        self.found = None

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script" and dict(attrs).get("id") == "report-data"
        if self.inside:
            self.found = ""

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found += data


def read_report(path):
    """The figures of a report."""
    with open_input(path) as file:
        content = file.read()
    parser = ReportData()
    try:
        parser.feed(content.decode("utf-8"))
        parser.close()
        figures = json.loads(parser.found) if parser.found is not None else None
    except (ValueError, RecursionError) as error:
        raise WrongInput("{} cannot be read as a report ({}): generate it again".format(path, error))
    if not isinstance(figures, dict) or figures.get("kind") != "report data":
        raise WrongInput("{} holds no report data: give the file that generate_report.py wrote".format(path))
    return figures


def check_belonging(arguments, figures):
    """Refuses figures that do not add up, and a report of some other data than this process's."""
    counts, score = figures["counts"], figures["quality"]["score"]
    if (counts["rows_read"] != counts["rows_loaded"] + counts["rows_rejected"]
            or counts["rows_loaded"] != counts["rows_kept"] + counts["duplicates_removed"]):
        raise WrongInput("{}: the numbers of rows do not add up: {}: generate the report again".format(
            arguments.input, json.dumps(counts)))
    if arguments.expected_score is not None:
        expected = number_setting("quality_score", arguments.expected_score, 0, 100)
        if abs(expected - score) > 0.005:
            raise WrongInput("{} has quality score {}, but process_data.py passed on {}: it is the report of "
                             "other data: give every process its own output directory".format(
                                 arguments.input, score, expected))


def check_score(figures, threshold):
    score = figures["quality"]["score"]
    if score >= threshold:
        return checked("quality score", "ok", "quality score {} reaches the threshold {}".format(score, threshold))
    factors = {name: figures["quality"][name] for name in ("validity", "completeness", "uniqueness")}
    worst = min(factors, key=lambda name: factors[name])
    return checked("quality score", "failed", "quality score {} is below the threshold {}; lowest is {} with {:.2%}".format(
        score, threshold, worst, factors[worst]))


def check_factors(figures, threshold):
    """A factor below the threshold is named, whether or not the score as a whole passes."""
    return [
        checked(name, "ok" if figures["quality"][name] * 100 >= threshold else "warning",
                "{} is {:.2%}".format(name, figures["quality"][name]))
        for name in ("validity", "completeness", "uniqueness")
    ]


def check_column(column):
    """What is striking in one column; nothing where it is as it should be."""
    name, present, missing = column["name"], column["present"], column["missing"]
    found = []
    if column["role"] == "empty":
        found.append('column "{}" has no value at all'.format(name))
    elif not column["optional"] and missing >= MISSING_WARN_MIN * (present + missing):
        found.append('column "{}" lacks {:.1%} of its values'.format(name, missing / (present + missing)))
    if column["role"] == "identifier" and column["distinct"] < present:
        found.append('column "{}" should identify a row, but {} an earlier one'.format(
            name, "1 value repeats" if present - column["distinct"] == 1
            else "{:,} values repeat".format(present - column["distinct"])))
    if column["role"] == "measure" and column["numbers"]["outliers"] >= OUTLIERS_WARN_MIN * present:
        found.append('column "{}" has {} in {}'.format(
            name, plural(column["numbers"]["outliers"], "outlier"), plural(present, "value")))
    return [checked("column " + name, "warning", detail) for detail in found]


def checked(name, result, detail):
    return {"check": name, "result": result, "detail": detail}


def conclude(report, figures, threshold, checks):
    """The analysis document with its verdict."""
    results = [check["result"] for check in checks]
    warnings = results.count("warning")
    return {
        "kind": "analysis",
        "verdict": "FAILED" if "failed" in results else "PASSED_WITH_WARNINGS" if warnings else "PASSED",
        "quality_score": figures["quality"]["score"],
        "quality_threshold": threshold,
        "warnings": warnings,
        "checks": checks,
        "counts": figures["counts"],
        "report": report,
        "source": figures["source"],
    }


if __name__ == "__main__":
    run(main)
