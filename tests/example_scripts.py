#!/usr/bin/env python3
"""Tests of the example's scripts, each run as the orchestrator runs it: as a command.

    python3 tests/example_scripts.py
"""

import ast
import hashlib
import html.parser
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import unittest

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(CHECKOUT, "scripts")
SAMPLE = os.path.join(SCRIPTS, "sample_input.json")
TASKS = ["load_data.py", "process_data.py", "generate_report.py", "analyze_results.py"]
# What would change a script's behaviour if the caller of the tests had it set.
OWN_VARIABLES = {"BATCH_SIZE", "QUALITY_THRESHOLD", "QUALITY_SCORE", "REPORT_USER", "REPORT_SOURCE_SYSTEM",
                 "PROCESS_ID", "PROCESS_CONTEXT_FILE"}


class ScriptTest(unittest.TestCase):
    """Runs scripts in a directory of its own, whose name has a space and quotes."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="it's an \"example\" ")
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.context_file = self.path("context of the task")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def read_json(self, name):
        return json.loads(self.read(name))

    def run_script(self, script, *arguments, exit_code=0, **environment):
        """Runs a script to the expected end; what it printed comes back."""
        inherited = {key: value for key, value in os.environ.items() if key not in OWN_VARIABLES}
        inherited.update(environment, PROCESS_CONTEXT_FILE=self.context_file)
        inherited["PYTHONIOENCODING"] = "utf-8"
        inherited["PYTHONDONTWRITEBYTECODE"] = "1"
        done = subprocess.run(
            [sys.executable, os.path.join(SCRIPTS, script)] + [str(it) for it in arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=inherited, cwd=self.directory, timeout=120)
        out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        self.assertEqual(done.returncode, exit_code, "{} {}\n--- stdout\n{}\n--- stderr\n{}".format(
            script, arguments, out, err))
        self.assertNotIn("Traceback", err)
        return out if exit_code == 0 else err

    def context(self):
        """The values passed on so far."""
        return dict(line.split("=", 1) for line in self.read(self.context_file).splitlines())

    def load(self, name, content, *options):
        """Loads an input and gives the loaded document."""
        self.run_script("load_data.py", self.write(name, content), self.path("loaded.json"), *options)
        return self.read_json("loaded.json")

    def refused(self, name, content, *options):
        """The message for an input that is refused; nothing may have been written."""
        message = self.run_script(
            "load_data.py", self.write(name, content), self.path("loaded.json"), *options, exit_code=2)
        self.assertFalse(os.path.exists(self.path("loaded.json")))
        self.assertIn(name, message)
        return message

    def process(self, name, content, **environment):
        self.load(name, content)
        self.run_script("process_data.py", self.path("loaded.json"), self.path("processed.json"), **environment)
        return self.read_json("processed.json")

    def report(self, name, content):
        self.process(name, content)
        self.run_script("generate_report.py", self.path("processed.json"), self.path("report.html"))
        return self.read("report.html")


class Load(ScriptTest):
    def test_csv_with_its_columns_types_and_quoted_fields(self):
        loaded = self.load("orders.csv", 'id;when;amount;paid;note\n1;2024-05-01;12.50;true;"a;b"\n'
                                         '2;2024-05-02T10:00:00Z;7;false;"two\nlines"\n')
        self.assertEqual([(column["name"], column["type"]) for column in loaded["columns"]],
                         [("id", "number"), ("when", "date"), ("amount", "number"), ("paid", "boolean"),
                          ("note", "text")])
        self.assertEqual([row["note"] for row in loaded["rows"]], ["a;b", "two\nlines"])
        self.assertEqual(loaded["source"]["format"], "csv")
        self.assertEqual(self.context(), {"rows_loaded": "2", "rows_rejected": "0"})

    def test_every_shape_of_json_holds_the_same_rows(self):
        rows = [{"id": 1, "city": "Łódź"}, {"id": 2, "city": "Graz"}]
        shapes = {
            "array.json": json.dumps(rows),
            "object.json": json.dumps({"made": "today", "data": {"rows": rows}, "other": [1, 2, 3]}),
            "lines.jsonl": "\n".join(map(json.dumps, rows)),
            "lines without the ending": "\n\n".join(map(json.dumps, rows)) + "\n",
            "bom.json": b"\xef\xbb\xbf" + json.dumps(rows, ensure_ascii=False).encode("utf-8"),
            "utf16.json": json.dumps(rows, ensure_ascii=False).encode("utf-16"),
        }
        for name, content in shapes.items():
            with self.subTest(name):
                self.assertEqual(self.load(name, content)["rows"], rows)

    def test_nested_objects_become_columns_and_lists_become_text(self):
        loaded = self.load("a.json", '[{"who": {"name": "Ann", "tags": ["x", 1]}}]')
        self.assertEqual(loaded["rows"], [{"who.name": "Ann", "who.tags": '["x", 1]'}])

    def test_the_longest_list_is_read_unless_another_is_named(self):
        content = '{"a": [{"x": 1}], "b": [{"y": 1}, {"y": 2}]}'
        self.assertEqual(self.load("two.json", content)["row_count"], 2)
        self.assertEqual(self.load("two.json", content, "--table", "a")["rows"], [{"x": 1}])
        os.unlink(self.path("loaded.json"))
        self.assertIn('holds no list "c": it holds a, b', self.refused("two.json", content, "--table", "c"))

    def test_a_bad_row_is_rejected_with_its_line_and_reason(self):
        good = "".join("{0},{0}.5,2024-01-{0:02d}\n".format(n) for n in range(1, 29))
        bad = 'x,1.5\n29,abc,2024-01-29\n,,\n30,2.5,2024-02-30\n31,"q"q,2024-01-31\n'
        loaded = self.load("bad.csv", "id,amount,day\n" + good + bad)
        self.assertEqual(loaded["row_count"], 28)
        self.assertEqual([(entry["line"], entry["reason"]) for entry in loaded["rejected"]], [
            (30, "2 fields instead of 3"),
            (31, 'column "amount": "abc" is not a number'),
            (32, "empty: no column has a value"),
            (33, 'column "day": "2024-02-30" is not a date'),
            (34, "text follows a closing quote"),
        ])
        self.assertEqual(loaded["rejected_count"], 5)
        self.assertEqual(self.context()["rows_rejected"], "5")

    def test_json_rows_that_are_no_objects_are_rejected(self):
        loaded = self.load("mixed.json", '[{"a": 1}, "page 2", [1], 7, null, {}, {"a.b": 1, "a": {"b": 2}}]')
        self.assertEqual([entry["reason"] for entry in loaded["rejected"]], [
            "not an object but text", "not an object but a list", "not an object but a number",
            "not an object but null", "empty: no column has a value", 'two values for column "a.b"'])

    def test_a_broken_json_line_is_rejected_and_the_others_are_kept(self):
        loaded = self.load("log.jsonl", '{"a": 1}\n{"a": \n{"a": 3}\n')
        self.assertEqual(loaded["row_count"], 2)
        self.assertEqual((loaded["rejected"][0]["line"], loaded["rejected"][0]["reason"][:8]), (2, "not JSON"))

    def test_numbers_that_nothing_can_be_computed_with_are_rejected(self):
        good = ", ".join('{{"n": {}}}'.format(n) for n in range(30))
        loaded = self.load("n.json", '[{}, {{"n": 1e999}}, {{"n": Infinity}}, {{"n": NaN, "m": 1}}, {{"n": {}}}]'.format(
            good, "9" * 5000))
        self.assertEqual(loaded["rejected_by_reason"], {"not a number": 3})
        self.assertEqual(loaded["row_count"], 31)  # NaN is a missing value, as in many exports

    def test_codes_with_leading_zeros_stay_text(self):
        loaded = self.load("zip.csv", "zip,city\n01067,Dresden\n10115,Berlin\n")
        self.assertEqual(loaded["columns"][0], {"name": "zip", "type": "text"})
        self.assertEqual(loaded["rows"][0]["zip"], "01067")

    def test_repeated_and_blank_column_names_get_numbers(self):
        self.assertEqual(list(self.load("h.csv", "a,a,,a\n1,2,3,4\n")["rows"][0]), ["a", "a_2", "column_3", "a_3"])

    def test_wrong_input_is_refused_with_a_remedy(self):
        cases = [
            ("empty.json", "", "is empty: give a table"),
            ("blank.csv", " \n\n", "is empty: give a table"),
            ("prose.txt", "Dear reader\nthis is a letter\n", "is not a table"),
            ("number.json", "42", "without a list of objects"),
            ("object.json", '{"a": 1}', "without a list of objects"),
            ("list.json", "[]", "holds an empty list"),
            ("broken.json", '[{"a": 1},\n {"a": }]', "Expecting value at line 2, column 8"),
            ("deep.json", "[" * 100000, "nested too deeply"),
            ("numbers.json", "[1, 2]", "not one of 2 rows can be used; row 1: not an object but a number"),
            ("header.csv", "a,b\n", "holds a header line and no rows"),
            ("quote.csv", 'a,b\n1,"open\n2,x\n3,y\n', "line 2: a quote is opened and not closed"),
            ("latin.csv", "a,b\n1,2\n3,caf\xe9\n".encode("latin-1"), "byte 0xe9 in line 3: convert it"),
            ("binary.csv", b"a,b\n\0\1\2,3\n", "is not text (it holds NUL bytes)"),
        ]
        for name, content, expected in cases:
            with self.subTest(name):
                self.assertIn(expected, self.refused(name, content))

    def test_paths_that_cannot_be_used_are_named(self):
        source, output = self.write("a.csv", "a,b\n1,2\n"), self.path("out.json")
        blocked = os.path.join(source, "out.json")
        for arguments, expected in [
                ((self.path("none.csv"), output), "no such file: " + self.path("none.csv")),
                ((self.directory, output), "is a directory: name a file in it"),
                ((source, self.directory), "is a directory: name a file to write"),
                ((source, blocked), "a part of this path is a file"),
                ((source, source), "is input and output at once"),
                ((source,), "the following arguments are required: OUTPUT"),
                ((source, output, "--format", "xml"), "invalid choice: 'xml'")]:
            with self.subTest(expected):
                self.assertIn(expected, self.run_script("load_data.py", *arguments, exit_code=2))
        self.assertEqual(self.read("a.csv"), "a,b\n1,2\n")

    @unittest.skipIf(not hasattr(os, "geteuid") or os.geteuid() == 0, "root may read and write everything")
    def test_missing_permission_is_named(self):
        source = self.write("a.csv", "a,b\n1,2\n")
        os.mkdir(self.path("locked"), 0o500)
        self.assertIn("no permission to write", self.run_script(
            "load_data.py", source, self.path("locked/deep/out.json"), exit_code=2))
        os.chmod(source, 0)
        self.assertIn("no permission to read", self.run_script(
            "load_data.py", source, self.path("out.json"), exit_code=2))


class Process(ScriptTest):
    def test_the_summary_of_a_column_is_right(self):
        values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 100]
        rows = [{"value": value, "serial": n} for n, value in enumerate(values)] + [{"value": "", "serial": 99}]
        column = self.process("v.json", json.dumps(rows))["columns"][0]
        expected = {"count": 11, "min": 1, "max": 100, "sum": 139.0, "mean": 12.6363636364,
                    "stdev": float("{:.12g}".format(statistics.stdev(values))), "q1": 2.5, "median": 4.0, "q3": 5.5, "outliers": 1}
        self.assertEqual(column["numbers"], expected)
        self.assertEqual((column["present"], column["missing"]), (11, 1))

    def test_values_are_cleaned_and_repeated_rows_removed(self):
        processed = self.process("c.csv", "id,name,n\n1,  Ann ,7\n1,Ann,7.0\n2,n/a,NA\n3,Bob\x07,8\n")
        self.assertEqual(processed["rows"], [
            {"id": 1, "name": "Ann", "n": 7},
            {"id": 2, "name": None, "n": None},
            {"id": 3, "name": "Bob\N{REPLACEMENT CHARACTER}", "n": 8}])
        self.assertEqual(processed["counts"], {
            "rows_read": 4, "rows_rejected": 0, "rows_loaded": 4, "duplicates_removed": 1, "rows_kept": 3})
        # 4 of 4 rows read, 7 of 9 values there, 3 of 4 rows kept: 58.333…, rounded down
        self.assertEqual(processed["quality"]["score"], 58.33)
        self.assertEqual(self.context()["quality_score"], "58.33")

    def test_a_sound_table_scores_one_hundred(self):
        self.assertEqual(self.process("s.csv", "a,b\n1,x\n2,y\n")["quality"]["score"], 100)

    def test_a_column_mostly_empty_is_optional(self):
        processed = self.process("o.csv", "id,remark\n1,hello\n2,\n3,\n")
        self.assertTrue(processed["columns"][1]["optional"])
        self.assertEqual(processed["quality"]["completeness"], 1)

    def test_the_batch_size_is_honoured_and_changes_no_result(self):
        content = "n,m\n" + "".join("{},{}\n".format(n, n % 7) for n in range(250))
        self.load("b.csv", content)
        results = []
        for size in ("1", "100", "1000"):
            out = self.run_script("process_data.py", "loaded.json", "p.json", BATCH_SIZE=size)
            document = self.read_json("p.json")
            self.assertEqual(document.pop("settings"), {"batch_size": int(size)})
            results.append(document)
            if size == "100":
                self.assertIn("batch 1 of 3: 100 rows of 250 cleaned\nbatch 2 of 3: 200 rows", out)
            self.assertLess(out.count("batch "), 25)
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[1], results[2])

    def test_a_wrong_batch_size_is_refused(self):
        self.load("b.csv", "a,b\n1,2\n")
        for size in ("0", "-5", "many", "1.5", ""):
            with self.subTest(size):
                self.assertIn('batch_size is "{}": give a whole number of at least 1'.format(size), self.run_script(
                    "process_data.py", "loaded.json", "p.json", exit_code=2, BATCH_SIZE=size))

    def test_dates_are_counted_with_their_gaps(self):
        column = self.process("d.csv", "day,n\n2024-01-31,1\n2024-03-01,2\n2024-03-02,3\n")["columns"][0]
        self.assertEqual(column["periods"]["unit"], "day")
        self.assertEqual(len(column["periods"]["counts"]), 32)
        column = self.process("d.csv", "day,n\n2023-12-01,1\n2024-03-01,2\n2024-03-02,3\n")["columns"][0]
        self.assertEqual(column["periods"], {
            "unit": "month", "counts": [["2023-12", 1], ["2024-01", 0], ["2024-02", 0], ["2024-03", 2]]})

    def test_bins_hold_every_value(self):
        for values in ([n / 7 for n in range(-50, 50)], [10**15 + n for n in range(30)],
                       [1e100 * n for n in range(20)], [1e-9 * n for n in range(20)] + [5e8]):
            with self.subTest(values[:2]):
                column = self.process("h.json", json.dumps([{"v": value} for value in values]))["columns"][0]
                self.assertEqual(sum(column["histogram"]["counts"]), len(values))
                self.assertEqual(len(column["histogram"]["edges"]), len(column["histogram"]["counts"]) + 1)

    def test_a_file_of_another_task_is_refused(self):
        foreign = self.write("foreign.json", '{"kind": "something else"}')
        self.assertIn("give the file that load_data.py wrote", self.run_script(
            "process_data.py", foreign, "p.json", exit_code=2))
        damaged = self.write("damaged.json", '{"kind": "loaded data", "rows": 7, "columns": []}')
        self.assertIn("was changed after load_data.py wrote it", self.run_script(
            "process_data.py", damaged, "p.json", exit_code=2))


class Tags(html.parser.HTMLParser):
    """Collects the elements of a page and checks that each is closed where it should be."""

    VOID = {"meta", "line", "rect"}

    def __init__(self, page):
        super().__init__()
        self.names, self.open, self.attributes = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        if tag not in self.VOID and self.open.pop() != tag:
            raise AssertionError("</{}> closes another element".format(tag))


class Generate(ScriptTest):
    HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{data}}\u2028"

    def test_hostile_text_stays_text(self):
        rows = [{"id": n, self.HOSTILE: self.HOSTILE if n % 2 else "fine", "n": n} for n in range(40)]
        rows += [self.HOSTILE, {"id": 41, "n": self.HOSTILE}]
        page = self.report("hostile <b>.json", json.dumps(rows))
        tags = Tags(page)
        self.assertEqual(tags.open, [])
        self.assertEqual(tags.names.count("script"), 1)
        self.assertNotIn("img", tags.names)
        self.assertNotIn("b>", re.sub(r"</?b>", "", page.split("<h1>")[1].split("</h1>")[0]))
        self.assertEqual([name for name in tags.attributes if name.startswith("on")], [])
        self.run_script("analyze_results.py", "report.html", "analysis.json", QUALITY_THRESHOLD="0")

    def test_the_report_needs_nothing_from_elsewhere(self):
        page = self.report("plain.csv", "id,city,n\n" + "".join("{0},{1},{0}\n".format(n, "AB"[n % 2]) for n in range(30)))
        self.assertNotRegex(page, r"(?i)https?://|url\(|@import|<link")
        self.assertIn("prefers-color-scheme: dark", page)
        self.assertEqual(page.count("<svg"), 2)

    def test_names_come_from_the_environment(self):
        self.process("plain.csv", "a,b\n1,2\n")
        self.run_script("generate_report.py", "processed.json", "report.html", REPORT_USER="Ann <a>",
                        REPORT_SOURCE_SYSTEM="legacy", PROCESS_ID="pipeline-7")
        for text in ("Ann &lt;a&gt;", "legacy", "pipeline-7"):
            self.assertIn(text, self.read("report.html"))

    def test_odd_tables_can_be_drawn(self):
        for name, content in [
                ("one value.json", '[{"a": 5}]'),
                ("one column.csv", "a\nx\n"),
                ("empty column.csv", "a,b\n1,\n2,\n"),
                ("big.json", json.dumps([{"a": 1e139 * n} for n in range(20)])),
                ("wide.json", json.dumps([{"c%d" % n: n * m for n in range(200)} for m in range(20)])),
                ("ages.csv", "d,n\n0001-01-01,1\n9999-12-31,2\n1500-01-01,3\n")]:
            with self.subTest(name):
                self.assertEqual(Tags(self.report(name, content)).open, [])


class Analyze(ScriptTest):
    SOUND = "id,city,n\n" + "".join("{0},{1},{0}\n".format(n, "AB"[n % 2]) for n in range(1, 31))
    # Three rows in thirty repeat another: a score of 90.
    REPEATED = SOUND + "1,B,1\n2,A,2\n3,B,3\n"

    def analyze(self, exit_code=0, **environment):
        return self.run_script("analyze_results.py", "report.html", "analysis.json", exit_code=exit_code, **environment)

    def test_sound_data_passes(self):
        self.report("sound.csv", self.SOUND)
        self.analyze(QUALITY_THRESHOLD="100", QUALITY_SCORE=self.context()["quality_score"])
        self.assertEqual(self.read_json("analysis.json")["verdict"], "PASSED")
        self.assertEqual(self.context()["verdict"], "PASSED")

    def test_data_below_the_threshold_fails_with_its_own_exit_code(self):
        self.report("repeated.csv", self.REPEATED)
        message = self.analyze(exit_code=3)
        self.assertIn("quality score 90.9 is below the threshold 95.0; lowest is uniqueness with 90.91%", message)
        self.assertEqual(self.read_json("analysis.json")["verdict"], "FAILED")
        self.analyze(QUALITY_THRESHOLD="90.9")
        self.assertEqual(self.read_json("analysis.json")["verdict"], "PASSED")

    def test_what_is_striking_is_warned_of(self):
        rows = "".join("{},{},\n".format(1 if n == 40 else n, 5 if n < 36 else 1000 + n) for n in range(41))
        self.report("striking.csv", "order_id,n,nothing\n" + rows)
        out = self.analyze(QUALITY_THRESHOLD="50")
        self.assertEqual(self.read_json("analysis.json")["verdict"], "PASSED_WITH_WARNINGS")
        self.assertIn('"order_id" should identify a row, but 1 value repeats an earlier one', out)
        self.assertIn('"n" has 5 outliers in 41 values', out)
        self.assertIn('"nothing" has no value at all', out)

    def test_a_report_of_other_data_is_refused(self):
        self.report("sound.csv", self.SOUND)
        self.assertIn("is the report of other data", self.analyze(exit_code=2, QUALITY_SCORE="97.5"))

    def test_a_page_that_is_no_report_is_refused(self):
        for page in ("<h1>hello</h1>", '<script id="report-data">{</script>', '<script id="report-data">{}</script>'):
            with self.subTest(page):
                self.write("report.html", page)
                self.assertIn("report.html", self.analyze(exit_code=2))

    def test_a_wrong_threshold_is_refused(self):
        self.report("sound.csv", self.SOUND)
        for threshold in ("high", "101", "-1", "nan"):
            with self.subTest(threshold):
                self.assertIn('quality_threshold is "{}": give a number from 0 to 100'.format(threshold),
                              self.analyze(exit_code=2, QUALITY_THRESHOLD=threshold))


class Pipeline(ScriptTest):
    """All four tasks with the commands and environment of the process type."""

    def run_pipeline(self, input_file):
        with open(os.path.join(SCRIPTS, "data-processing-pipeline.json"), encoding="utf-8") as file:
            tasks = json.load(file)["tasks"]
        values = {"input_file": input_file, "output_dir": self.path("out")}
        for task in tasks:
            context = self.context() if os.path.exists(self.context_file) else {}
            values.update(("processContext." + key, value) for key, value in context.items())

            def fill(text):
                return re.sub(r"\$\{([^}:]+)(?::-([^}]*))?\}",
                              lambda found: values[found[1]] if found[2] is None else values.get(found[1], found[2]), text)

            words = [fill(word) for word in shlex.split(task["command"])]
            self.assertEqual(words[0], "python3")
            environment = {key: fill(value) for key, value in task.get("environment", {}).items()}
            self.run_script(os.path.basename(words[1]), *words[2:], **environment)

    def digests(self):
        found = {}
        for name in sorted(os.listdir(self.path("out"))):
            with open(self.path(os.path.join("out", name)), "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
        return found

    def test_the_sample_passes_and_a_second_run_changes_nothing(self):
        self.run_pipeline(SAMPLE)
        first = self.digests()
        self.assertEqual(sorted(first), ["analysis.json", "loaded_data.json", "processed_data.json", "report.html"])
        context = self.context()
        self.assertEqual((context["rows_loaded"], context["rows_rejected"]), ("296", "4"))
        self.assertIn(context["verdict"], ("PASSED", "PASSED_WITH_WARNINGS"))
        self.run_pipeline(SAMPLE)
        self.assertEqual(self.digests(), first)

    def test_file_names_with_spaces_quotes_and_dollars(self):
        self.run_pipeline(self.write("my orders; $(id) 'x' ü.csv", Analyze.SOUND))
        self.assertIn("my orders; $(id) &#x27;x&#x27; ü.csv", self.read("out/report.html"))

    def test_names_print_in_a_plain_ascii_locale(self):
        source = self.write("größe.csv", "größe,n\n1,2\n")
        done = subprocess.run(
            [sys.executable, os.path.join(SCRIPTS, "load_data.py"), source, self.path("o.json")],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
                 "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_generator_makes_the_committed_sample(self):
        with open(SAMPLE, encoding="ascii") as file:
            committed = file.read()
        self.assertEqual(self.run_script("make_sample_input.py"), committed,
                         "run: python3 scripts/make_sample_input.py > scripts/sample_input.json")
        self.assertEqual(len(json.loads(committed)), 300)


class Everything(ScriptTest):
    def test_each_script_explains_itself(self):
        for script in TASKS + ["make_sample_input.py"]:
            with self.subTest(script):
                self.assertIn("usage: " + script, self.run_script(script, "--help"))

    def test_a_call_without_arguments_is_wrong_usage(self):
        for script in TASKS:
            with self.subTest(script):
                self.assertIn("INPUT, OUTPUT", self.run_script(script, exit_code=2))

    def test_no_temporary_file_is_left(self):
        self.report("plain.csv", "a,b\n1,2\n")
        self.assertEqual([name for name in os.listdir(self.directory) if name.endswith(".partial")], [])

    @unittest.skipIf(sys.version_info < (3, 8), "ast knows feature_version from 3.8 on")
    def test_the_syntax_is_that_of_python_3_7(self):
        for name in sorted(os.listdir(SCRIPTS)):
            if name.endswith(".py"):
                with self.subTest(name), open(os.path.join(SCRIPTS, name), encoding="utf-8") as file:
                    ast.parse(file.read(), name, feature_version=(3, 7))


def name_skipped(result):
    """Has scripts/test name what was left out, beside the tests of the program that left themselves out."""
    if os.environ.get("LEFT_OUT_TESTS"):
        with open(os.environ["LEFT_OUT_TESTS"], "a", encoding="utf-8") as file:
            file.writelines("{}: {}\n".format(test.id(), why) for test, why in result.skipped)


if __name__ == "__main__":
    ran = unittest.main(exit=False).result
    name_skipped(ran)
    sys.exit(not ran.wasSuccessful())
