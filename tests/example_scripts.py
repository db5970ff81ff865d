#!/usr/bin/env python3
"""Tests of the example's scripts, each run as the orchestrator runs it: as a command.

    python3 tests/example_scripts.py
"""

import ast
import bz2
import concurrent.futures
import gzip
import hashlib
import html.parser
import json
import math
import os
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import unittest

import example_tables

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

    def test_a_document_may_be_cut_into_parts_at_any_place(self):
        rows = [{"n": n, "x": -1.25e-7 * n, "long": 10**17 + n, "t": "\u00e9\"]}, \\" * (n % 5), "b": [True, None, {"k": n}]}
                for n in range(20)]
        documents = [rows, {"made": 1.5, "in": {"rows": rows}, "end": [1, 2]},
                     {name: {str(n): row[name] for n, row in enumerate(rows)} for name in ("n", "x", "long", "t")}]
        read = ("import sys; sys.path.insert(0, sys.argv[1])\n"
                "import example_json, example_source, json\n"
                "for path in sys.argv[2:]:\n"
                "    source, found = example_source.Source(path), set()\n"
                "    for example_json.CHUNK_CHARS in list(range(1, 80)) + [1 << 18]:\n"
                "        found.add(json.dumps(list(example_json.JsonDocument(source, None).values())))\n"
                "    print(len(found), found.pop(), sep='\\t')\n")
        paths = [self.write("d%d.json" % n, json.dumps(document)) for n, document in enumerate(documents)]
        told = subprocess.run([sys.executable, "-c", read, SCRIPTS] + paths, stdout=subprocess.PIPE, check=True).stdout
        answers = [line.split("\t") for line in told.decode("utf-8").splitlines() if not line.startswith("records are")]
        some = [{name: row[name] for name in ("n", "x", "long", "t")} for row in rows]
        self.assertEqual([(different, json.loads(values)) for different, values in answers],
                         [("1", rows), ("1", rows), ("1", some)])

    def test_the_longest_list_is_read_unless_another_is_named(self):
        content = '{"a": [{"x": 1}], "b": [{"y": 1}, {"y": 2}]}'
        self.assertEqual(self.load("two.json", content)["row_count"], 2)
        self.assertEqual(self.load("two.json", content, "--table", "a")["rows"], [{"x": 1}])
        os.unlink(self.path("loaded.json"))
        self.assertIn('holds no list "c": it holds a, b', self.refused("two.json", content, "--table", "c"))

    def test_what_is_no_row_is_rejected_with_its_line_and_reason(self):
        loaded = self.load("bad.csv", "id,amount,day\n1,1.5,2024-01-01\n2,2,2024-01-02,\n3,3,4,5\n4\n,,\n")
        self.assertEqual([(entry["line"], entry["reason"]) for entry in loaded["rejected"]],
                         [(4, "4 fields instead of 3")])
        self.assertEqual(loaded["rows"][2:], [{"id": "4", "amount": None, "day": None},
                                              {"id": None, "amount": None, "day": None}])
        self.assertEqual((loaded["row_count"], loaded["rejected_count"], loaded["unfit_count"]), (4, 1, 0))
        self.assertEqual(self.context(), {"rows_loaded": "4", "rows_rejected": "1"})

    def test_a_value_that_does_not_fit_is_told_and_its_row_kept(self):
        good = "".join("{0},{0}.5,2024-01-{0:02d}\n".format(n) for n in range(1, 29))
        loaded = self.load("odd.csv", "id,amount,day\n" + good + "29,abc,2024-01-29\n30,2.5,2024-02-30\n31,-,2024-01-31\n")
        self.assertEqual([(entry["line"], entry["reason"]) for entry in loaded["unfit"]], [
            (30, 'column "amount": "abc" is not a number'), (31, 'column "day": "2024-02-30" is not a date')])
        self.assertEqual((loaded["row_count"], loaded["rejected_count"], loaded["unfit_count"]), (31, 0, 2))
        self.run_script("process_data.py", "loaded.json", "processed.json")
        processed = self.read_json("processed.json")
        self.assertEqual([row["amount"] for row in processed["rows"][27:]], [28.5, "abc", 2.5, None])
        amount = processed["columns"][1]
        self.assertEqual((amount["present"], amount["numbers"]["count"], amount["distinct"]), (30, 29, 29))
        self.assertEqual(processed["quality"]["validity"], round(29 / 31, 6))

    def test_an_empty_line_of_one_column_is_none(self):
        self.assertEqual(self.load("one.csv", 'a\n1\n\n""\n  \n2\n')["row_count"], 3)

    def test_delimiters_at_the_end_of_lines_mean_nothing(self):
        for content in ("a,b\n1,2,\n3,4,\n", "a,b\n1,2\n3,4,,\n", "a,b\n1,2,\n3,4\n"):
            with self.subTest(content):
                self.assertEqual(self.load("t.csv", content)["rows"], [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}])

    def test_a_first_row_with_too_many_fields_moves_no_columns(self):
        loaded = self.load("t.csv", "a,b\nSmith, Ann,2\nBob,4\n")
        self.assertEqual(loaded["rows"], [{"a": "Smith", "b": " Ann", "column_3": "2"},
                                          {"a": "Bob", "b": "4"}])

    def test_json_rows_that_are_no_objects_are_rejected(self):
        loaded = self.load("mixed.json", '[{"a": 1}, "page 2", [1], 7, null, {}, {"a.b": 1, "a": {"b": 2}}]')
        self.assertEqual([entry["reason"] for entry in loaded["rejected"]], [
            "not an object but text", "not an object but a list", "not an object but a number",
            "not an object but null"])
        self.assertEqual(loaded["rows"], [{"a": 1}, {}, {"a.b": 1, "a.b_2": 2}])

    def test_a_broken_json_line_is_rejected_and_the_others_are_kept(self):
        loaded = self.load("log.jsonl", '{"a": 1}\n{"a": \n{"a": 3}\n')
        self.assertEqual(loaded["row_count"], 2)
        self.assertEqual((loaded["rejected"][0]["line"], loaded["rejected"][0]["reason"][:8]), (2, "not JSON"))

    def test_numbers_that_nothing_can_be_computed_with_do_not_fit(self):
        good = ", ".join('{{"n": {}}}'.format(n) for n in range(30))
        loaded = self.load("n.json", '[{}, {{"n": 1e999}}, {{"n": Infinity}}, {{"n": NaN, "m": 1}}]'.format(good))
        self.assertEqual(loaded["unfit_by_reason"], {"not a number": 2})
        self.assertEqual(loaded["row_count"], 33)  # NaN is a missing value, as in many exports

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
            ("cut.json", '[{"a": 1}, {"a": 2}', "Expecting ',' or ']' at line 1, column 20"),
            ("two.json", '[{"a": 1}] [{"a": 2}]', "Extra data at line 1, column 12"),
            ("hollow.json", "[{}, {}]", "its objects are empty"),
            ("lines.jsonl", "1\n2\n", "not one of 2 rows can be used; row 1 (line 1): not an object but a number"),
            ("odd.csv.gz", "a,b\n1,2\n", "is not a sound .gz file"),
            ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-4], "is not a sound .gz file"),
            ("odd.csv.zip", "a,b\n1,2\n", "is not a sound .zip file"),
            ("two.csv.tar", example_tables.packed_files(), "holds 2 files: give one with a single table"),
            ("latin.csv.bz2", bz2.compress(b"a,b\n1,caf\xe9\n"), "byte 0xe9 in line 2: convert it"),
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
            "rows_read": 4, "rows_rejected": 0, "rows_unfit": 0, "rows_loaded": 4, "duplicates_removed": 1, "rows_kept": 3})
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


class Tables(ScriptTest):
    """What pandas reads without options has the same rows and figures here."""

    # What a reader of numbers alone spoils: pandas gives 501 for the zip code 00501, and drops the + of a telephone number.
    CODES = {"zip", "phone", "hour"}

    def figures(self, name, content):
        """The processed document of a table; nothing of it may be rejected."""
        loaded, processed = self.path("loaded " + name), self.path("processed " + name)
        self.run_script("load_data.py", self.write(name, content), loaded)
        self.run_script("process_data.py", loaded, processed)
        return self.read_json(processed)

    def compare(self, name, content, said, by_name):
        with self.subTest(name):
            found = self.figures(name, content)
            self.assertEqual((found["counts"]["rows_read"], found["counts"]["rows_loaded"], found["counts"]["rows_kept"]),
                             (said["rows"], said["rows"], said["rows_kept"]))
            columns = {column["name"]: column for column in found["columns"]}
            if not by_name and len(columns) > len(said["columns"]):
                # Names of rows, or what another delimiter divides.
                del found["columns"][:len(columns) - len(said["columns"])]
            for place, expected in enumerate(said["columns"]):
                column = columns.get(expected["name"]) if by_name else found["columns"][place]
                if column is None or expected["name"].count(";"):
                    continue  # an object, which has columns of its own here
                self.assertEqual(column["present"], expected["count"], (name, expected))
                if column["name"] in self.CODES:
                    self.assertEqual(column["type"], "text", (name, expected))
                elif "mean" in expected and column["type"] != "boolean":  # pandas makes 0 and 1 of them where some are missing
                    numbers = column["numbers"]
                    self.assertEqual(numbers["count"], expected["count"])
                    for figure in ("min", "max", "mean"):
                        self.assertTrue(math.isclose(numbers[figure], expected[figure], rel_tol=1e-11, abs_tol=1e-12),
                                        (name, expected, numbers))
                        if isinstance(expected[figure], int):
                            self.assertEqual(numbers[figure], expected[figure])

    def compare_all(self, tables, said):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in [pool.submit(self.compare, name, content, said(name), ".json" in name) for name, content in tables]:
                done.result()

    def test_tables_of_many_kinds_have_the_figures_that_pandas_gave(self):
        with open(os.path.join(CHECKOUT, "tests", "example_tables.json"), encoding="utf-8") as file:
            said = json.load(file)
        tables = dict(example_tables.tables())
        self.assertEqual(sorted(tables), sorted(said), "write them anew: see tests/example_tables.py")
        self.compare_all(tables.items(), said.get)

    def test_random_tables_have_the_figures_that_pandas_gives(self):
        try:
            import pandas  # noqa: F401
        except ImportError:
            self.skipTest("pandas is not installed")
        seed = int(os.environ.get("EXAMPLE_TABLES_SEED", "1"))
        tables = dict(example_tables.random_tables(random.Random(seed), int(os.environ.get("EXAMPLE_TABLES", "40"))))
        said = {name: example_tables.said_by_pandas(self.write(name, content)) for name, content in tables.items()}
        self.compare_all(tables.items(), said.get)

    def rows(self, make, *columns):
        """The values of columns in the cleaned rows of a table."""
        rows = self.figures(make.__name__ + ".csv", make(random.Random(0)).encode("utf-8"))["rows"]
        return [tuple(row[name] for name in columns) if len(columns) > 1 else row[columns[0]] for row in rows]

    def test_times_keep_their_time_of_day(self):
        times = self.rows(example_tables.sensor_readings, "time")
        self.assertEqual((len(times), times[0], times[-1]),
                         (288, "2024-03-01T00:00:00+01:00", "2024-03-01T23:55:00+01:00"))
        document = self.read_json("processed sensor_readings.csv")
        column = document["columns"][0]
        self.assertEqual((column["earliest"], column["latest"]), (times[0], times[-1]))
        self.assertEqual(column["periods"]["unit"], "hour")
        self.assertEqual(column["periods"]["counts"], [["2024-03-01 {:02d}:00".format(n), 12] for n in range(24)])
        self.assertIn("25:58:00", self.rows(example_tables.stop_times, "arrival_time"))

    def test_the_earliest_time_is_so_in_every_zone(self):
        column = self.process("z.csv", "at,n\n2024-05-01T01:00:00+05:00,1\n2024-05-01T00:30Z,2\n"
                                       "2024-04-30 23:30:00.5-02,3\n")["columns"][0]
        self.assertEqual((column["earliest"], column["latest"]),
                         ("2024-05-01T01:00:00+05:00", "2024-04-30 23:30:00.5-02"))

    def test_ids_keep_every_digit_and_codes_stay_text(self):
        self.assertEqual(self.rows(example_tables.posts, "id", "in_reply_to")[:2],
                         [(1800000000000000000, 1799999999999999000), (1800000000000000001, None)])
        self.assertEqual(self.rows(example_tables.unsigned_ids, "hash")[0], 2**64 - 1)
        self.assertEqual(self.rows(example_tables.ids_beyond_64_bits, "account")[:2],
                         ["100000000000000000000", "100000000000000000001"])
        self.assertEqual(self.rows(example_tables.zip_codes, "zip")[:2], ["00501", "01492"])
        self.assertEqual(self.rows(example_tables.contacts, "phone", "share", "price", "house number", "hour")[7],
                         ("+4915100008659", "7.5%", "$7,000.00", "7a", "07"))
        self.assertEqual(self.process("j.json", '[{"id": 123456789012345678901234}, {"id": 7}]')["rows"],
                         [{"id": "123456789012345678901234"}, {"id": "7"}])

    def test_commas_in_numbers_are_read_where_their_meaning_is_sure(self):
        self.assertEqual(self.rows(example_tables.populations, "population"), [45571090, 10670, 987, 1417173173])
        self.assertEqual(self.rows(example_tables.bank_statement, "Betrag", "Saldo")[:2],
                         [(-900, 1000.5), (-682.69, 1001.5)])
        lists = self.process("answers.csv", 'id,chosen\n1,"1,2"\n2,"3,4"\n3,2\n')
        self.assertEqual([row["chosen"] for row in lists["rows"]], ["1,2", "3,4", "2"])
        unsure = self.process("unsure.csv", "id;amount\n1;1,234\n2;5,678\n")
        self.assertEqual([row["amount"] for row in unsure["rows"]], ["1,234", "5,678"])

    def test_a_column_of_many_different_values_is_counted_as_exactly(self):
        """More than are counted one by one: they are kept as numbers and digests."""
        chance = random.Random(5)
        values = [chance.choice([chance.randrange(-10**6, 10**6), round(chance.gauss(0, 1e5), 2)]) for _ in range(30000)]
        rows = "".join("{},{},{},{}\n".format(n, value, 10**18 + n, "t%d" % (n // 2)) for n, value in enumerate(values))
        found = {column["name"]: column for column in self.process("many.csv", "n,value,big,word\n" + rows)["columns"]}
        ordered = sorted(values)
        quarters = statistics.quantiles(values, n=4, method="inclusive") if sys.version_info >= (3, 8) else None
        numbers = found["value"]["numbers"]
        self.assertEqual((numbers["min"], numbers["max"], found["value"]["distinct"]),
                         (ordered[0], ordered[-1], len(set(values))))
        self.assertAlmostEqual(numbers["mean"], math.fsum(values) / len(values), places=5)
        if quarters:
            self.assertAlmostEqual(numbers["q1"], quarters[0], places=4)
            self.assertAlmostEqual(numbers["q3"], quarters[2], places=4)
        self.assertEqual(sum(found["value"]["histogram"]["counts"]), len(values))
        self.assertEqual((found["big"]["distinct"], found["big"]["numbers"]["max"]), (30000, 10**18 + 29999))
        self.assertEqual((found["word"]["distinct"], found["word"]["role"]), (15000, "free text"))


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
                ("close.json", json.dumps([{"a": 1e12 + n / 64} for n in range(20)])),
                ("ids.json", json.dumps([{"a": 2**62 + n} for n in range(20)])),
                ("largest.json", json.dumps([{"a": 9.9e304 * (-1) ** n, "b": n * 5e303} for n in range(20)])),
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
        self.assertEqual((context["rows_loaded"], context["rows_rejected"]), ("299", "1"))
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


class Memory(ScriptTest):
    def test_memory_does_not_grow_with_the_file(self):
        """Each task takes less than five times the bytes that came in more, for a file twelve times as long."""
        try:
            import resource  # noqa: F401
        except ImportError:
            self.skipTest("this system does not tell how much memory a process took")
        chance, needed, sizes = random.Random(3), [], []
        for rows in (10000, 120000):
            content = "id,name,value\n" + "".join(
                "{},n{},{:.3f}\n".format(n, chance.randrange(10**6), chance.random()) for n in range(rows))
            sizes.append(len(content))
            self.write("m.csv", content)
            needed.append([self.peak_bytes(*words) for words in [
                ("load_data.py", "m.csv", "l.json"), ("process_data.py", "l.json", "p.json"),
                ("generate_report.py", "p.json", "r.html"), ("analyze_results.py", "r.html", "a.json")]])
        for task, less, more in zip(TASKS, *needed):
            self.assertLess(more - less, 5 * (sizes[1] - sizes[0]), task)

    def peak_bytes(self, script, *arguments):
        words = [sys.executable, os.path.join(SCRIPTS, script)] + [self.path(name) for name in arguments]
        measured = ("import resource, subprocess, sys; subprocess.run({!r}, check=True, stdout=subprocess.DEVNULL); "
                    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)".format(words))
        told = subprocess.run([sys.executable, "-c", measured], stdout=subprocess.PIPE, check=True).stdout
        return int(told) * (1 if sys.platform == "darwin" else 1024)


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
