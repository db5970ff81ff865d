#!/usr/bin/env python3
"""Task 3, generate: writes a readable report of the processed data as one HTML file.

INPUT is what process_data.py wrote. OUTPUT needs no network and runs no script: charts are inline
SVG, and the figures stand in it once more as JSON for analyze_results.py. Names of the user and the
source system are taken from the variables REPORT_USER and REPORT_SOURCE_SYSTEM. Passes on
report_charts.
"""

import argparse
import itertools
import json
import os

from example_charts import bars_chart, clip, columns_chart, escape, histogram_chart, short
from example_support import Document, WrongInput, pass_on, plural, run, say, write_text

ROWS_SHOWN_MAX = 10
FLAWED_SHOWN_MAX = 25
CELL_CHARS_MAX = 60
# Wide tables have hundreds of columns; the page stays one that a browser opens at once.
CHARTS_MAX = 60
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "report_template.html")


def main():
    arguments = parse_arguments()
    document = Document(arguments.input, "processed data", "process_data.py")
    data = document.values
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    try:
        charts = draw_charts(data["columns"])
        parts = {
            "title": escape(os.path.basename(data["source"]["file"])),
            "origin": origin(data),
            "tiles": tiles(data),
            "quality": quality(data["quality"]),
            "charts": charts,
            "columns": columns_table(data["columns"]),
            "rejected": flawed_table(data["rejected"], data["rejected_by_reason"], "rejected"),
            "unfit": flawed_table(data["unfit"], data["unfit_by_reason"], "kept with a value that does not fit"),
            "rows": rows_table(document),
            "data": embedded(data),
        }
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise WrongInput("{} was changed after process_data.py wrote it ({!r}): process it again".format(
            arguments.input, error))
    write_text(arguments.output, [fill(page, parts)])
    number = charts.count("<svg")
    say("wrote {} with {} of {}".format(
        arguments.output, plural(number, "chart"), plural(len(data["columns"]), "column")))
    pass_on(report_charts=number)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done, 1 a fault that may pass, 2 wrong usage or input.")
    parser.add_argument("input", metavar="INPUT", help="the document that process_data.py wrote")
    parser.add_argument("output", metavar="OUTPUT", help="the HTML file to write")
    return parser.parse_args()


def fill(page, parts):
    """The page with its `{{name}}` places filled, in one pass: a value is never searched for places."""
    pieces = page.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        filled += [parts[name], rest]
    return "".join(filled)


def origin(data):
    """Where the data came from and for whom the report was made."""
    source = data["source"]
    facts = [
        ("File", source["file"]),
        ("Format", "{}, {:,} bytes".format(source["format"].upper(), source["bytes"])),
        ("Last changed", source["modified"].replace("T", " ").replace("Z", " UTC")),
        ("Source system", os.environ.get("REPORT_SOURCE_SYSTEM", "not given")),
        ("For user", os.environ.get("REPORT_USER", "not given")),
        ("Process", os.environ.get("PROCESS_ID", "none: run by hand")),
    ]
    return "".join("<div><dt>{}</dt><dd>{}</dd></div>".format(name, escape(value)) for name, value in facts)


def tiles(data):
    counts = data["counts"]
    figures = [
        ("quality score", "{:.2f}".format(data["quality"]["score"]), "of 100"),
        ("rows kept", "{:,}".format(counts["rows_kept"]), "of {:,} read".format(counts["rows_read"])),
        ("rows rejected", "{:,}".format(counts["rows_rejected"]), "listed below" if counts["rows_rejected"] else "none"),
        ("duplicates", "{:,}".format(counts["duplicates_removed"]), "removed" if counts["duplicates_removed"] else "none"),
        ("columns", "{:,}".format(len(data["columns"])),
         "{} of numbers".format(sum(column["role"] == "measure" for column in data["columns"]))),
    ]
    return "".join('<div class="tile"><span>{}</span><strong>{}</strong><small>{}</small></div>'.format(*figure)
                   for figure in figures)


def quality(figures):
    """The three factors of the score as meters."""
    meaning = {
        "validity": "rows whose values all fit",
        "completeness": "values that are there",
        "uniqueness": "rows that repeat no other",
    }
    return "".join(
        '<div class="factor"><span>{name}<small>{meaning}</small></span>'
        '<span class="meter"><i style="width:{width:.2f}%"></i></span><b>{share:.2%}</b></div>'.format(
            name=name.capitalize(), meaning=text, width=100 * figures[name], share=figures[name])
        for name, text in meaning.items())


def draw_charts(columns):
    """A card for every column that can be drawn, under a heading for each kind of column."""
    sections, room = [], CHARTS_MAX
    for role, heading, layout, draw in [("date", "Over time", "grid-cards", date_card),
                                        ("measure", "Numbers", "grid-cards", measure_card),
                                        ("category", "Categories", "flowing-cards", category_card)]:
        drawn = [draw(column) for column in columns if column["role"] == role][:room]
        room -= len(drawn)
        if drawn:
            sections.append('<h2>{}</h2><section class="{}">{}</section>'.format(heading, layout, "".join(drawn)))
    return "".join(sections)


def card(column, note, inner, wide=False):
    return '<figure class="card{}"><figcaption><b>{}</b><span>{}</span></figcaption>{}</figure>'.format(
        " wide" if wide else "", escape(column["name"]), escape(note), inner)


def date_card(column):
    series = column["periods"]
    note = "rows by {}, {} to {}".format(series["unit"], column["earliest"], column["latest"])
    labels, counts = zip(*series["counts"])
    return card(column, note, columns_chart(note, labels, counts, width=900), wide=True)


def measure_card(column):
    numbers = column["numbers"]
    if "values" in column:
        labels, counts = zip(*column["values"])
        chart = columns_chart("rows by " + column["name"], [short(label) for label in labels], counts, 420, 190)
    else:
        chart = histogram_chart("distribution of " + column["name"], column["histogram"]["edges"],
                                column["histogram"]["counts"], ("median", numbers["median"]))
    names = [("min", "min"), ("q1", "lower quartile"), ("median", "median"), ("mean", "mean"),
             ("q3", "upper quartile"), ("max", "max"), ("stdev", "std. deviation"), ("sum", "sum")]
    figures = "".join("<div><dt>{}</dt><dd>{}</dd></div>".format(label, short(numbers[key])) for key, label in names)
    note = plural(numbers["count"], "value") + (
        ", " + plural(numbers["outliers"], "outlier") if numbers["outliers"] else "")
    return card(column, note, chart + '<dl class="figures">{}</dl>'.format(figures))


def category_card(column):
    shown = len(column["top"])
    note = "{} different values{}".format(
        short(column["distinct"]), ", the {} most frequent".format(shown) if column["distinct"] > shown else "")
    return card(column, note, bars_chart("most frequent " + column["name"], column["top"], column["present"]))


def columns_table(columns):
    lines = []
    for column in columns:
        total = column["present"] + column["missing"]
        missing = "{:,} ({:.1%}){}".format(column["missing"], column["missing"] / total,
                                           ", optional" if column["optional"] else "")
        lines.append([column["name"], column["type"], column["role"], "{:,}".format(column["distinct"]),
                      missing if column["missing"] else "none"])
    return table(["column", "type", "role", "distinct", "missing"], lines)


def flawed_table(rows, by_reason, what):
    total = sum(by_reason.values())
    if not total:
        return "<p>No row was {}.</p>".format(what)
    reasons = bars_chart("rows {} by reason".format(what), sorted(by_reason.items(), key=lambda it: -it[1]),
                         total, width=560)
    shown = rows[:FLAWED_SHOWN_MAX]
    lines = [[entry["row"], entry.get("line", "–"), entry["reason"], entry["excerpt"]] for entry in shown]
    more = "" if total == len(shown) else "<p>The first {} of {:,}.</p>".format(len(shown), total)
    return reasons + table(["row", "line", "reason", "beginning of the row"], lines) + more


def rows_table(document):
    names = [column["name"] for column in document.values["columns"]]
    rows = itertools.islice(document.rows(), ROWS_SHOWN_MAX)
    return table(names, [[row[name] for name in names] for row in rows])


def table(names, lines):
    head = "".join('<th scope="col">{}</th>'.format(escape(clip(name, CELL_CHARS_MAX))) for name in names)
    body = "".join("<tr>{}</tr>".format("".join(cell(value) for value in line)) for line in lines)
    return '<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'.format(head, body)


def cell(value):
    if value is None:
        return '<td class="none">–</td>'
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "<td{}>{}</td>".format(' class="number"' if number else "", escape(clip(text, CELL_CHARS_MAX)))


def embedded(data):
    """The figures without the rows, as JSON that cannot end the script element it stands in."""
    figures = {key: value for key, value in data.items() if key not in ("rejected", "unfit")}
    figures["kind"] = "report data"
    text = json.dumps(figures, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


if __name__ == "__main__":
    run(main)
