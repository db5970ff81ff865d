"""Tables as they are found in the world, made from a seed, for the tests of the example's scripts.

`example_tables.json` holds what pandas says of each. With pandas installed, this writes it anew:

    python3 tests/example_tables.py > tests/example_tables.json
"""

import bz2
import datetime
import gzip
import io
import json
import lzma
import os
import random
import sys
import tarfile
import tempfile
import uuid
import zipfile


def csv_text(header, rows, delimiter=",", end="\n"):
    """CSV with quotes only where they are needed, as most programs write it."""
    def field(value):
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(it in text for it in (delimiter, '"', "\n", "\r")) else text

    return end.join(delimiter.join(map(field, row)) for row in [header] + rows) + end


def sensor_readings(chance):
    """One day, a reading each five minutes: as days alone, all but one would be duplicates."""
    start = datetime.datetime(2024, 3, 1)
    rows = [[(start + datetime.timedelta(minutes=5 * n)).isoformat() + "+01:00", "hall", round(20 + n % 3 / 10, 1)]
            for n in range(288)]
    return csv_text(["time", "room", "celsius"], rows)


def taxi_rides(chance):
    rows = []
    for n in range(200):
        start = datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=int(chance.random() * 86400))
        cash = chance.random() < 0.3
        rows.append([1 + n % 2, start, start + datetime.timedelta(seconds=600 + n), None if n % 20 == 0 else n % 5,
                     "%.2f" % (chance.random() * 9), "YN"[cash], 1 + int(chance.random() * 265),
                     "%.2f" % (3 + chance.random() * 40), ".%d" % (n % 10), "0" if cash else "%.2f" % chance.random()])
    return csv_text(["VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance",
                     "store_and_fwd_flag", "PULocationID", "fare_amount", "mta_tax", "tip_amount"], rows)


def zip_codes(chance):
    """One in eight begins with a zero: too few for a majority, too many to lose."""
    return csv_text(["zip", "latitude", "longitude", "population"], [
        ["%05d" % (501 + n * 991), "%.5f" % (24 + n / 7), "%.5f" % (-66 - n / 3), 100 + n * n] for n in range(100)])


def populations(chance):
    return csv_text(["country", "population", "density"], [
        [name, "{:,}".format(people), density] for name, people, density in [
            ("Ukraine", 45571090, 75.5), ("Nauru", 10670, 480.2), ("Tuvalu", 987, 393), ("India", 1417173173, 473.4)]])


def bank_statement(chance):
    """Semicolons and commas before the cents: pandas sees one column of text."""
    rows = [["%02d.03.2024" % (1 + n % 28), "DE%020d" % (10**17 * n + 7), ("%.2f" % (n * 217.31 - 900)).replace(".", ","),
             "1.{:03d},50".format(n)] for n in range(60)]
    return csv_text(["Buchungstag", "IBAN", "Betrag", "Saldo"], rows, ";")


def stop_times(chance):
    """Trips after midnight go on counting: 25:10:00."""
    return csv_text(["trip_id", "arrival_time", "stop_id", "stop_sequence", "shape_dist_traveled"], [
        ["T%d" % (n // 20), "%02d:%02d:00" % (22 + n // 30, n * 2 % 60), "S%d" % (n % 20), n % 20,
         "" if n % 20 == 0 else "%.3f" % (n * 0.4)] for n in range(120)], end="\r\n")


def stock_prices(chance):
    return csv_text(["Date", "Open", "Close", "Volume", "Change"], [
        [datetime.date(2024, 1, 1) + datetime.timedelta(days=n), "%.6f" % (90 + chance.random() * 9),
         "%.2f" % (90 + n / 9), int(chance.random() * 1e8), "%+.2f" % (n / 9 - 5)] for n in range(90)])


def posts(chance):
    """Ids of 19 digits that differ in the last ones only, beside one that is missing."""
    return csv_text(["id", "in_reply_to", "likes", "text"], [
        [1800000000000000000 + n, None if n % 3 else 1799999999999999000 + n, n % 7,
         'said "%d",\nand no more' % n] for n in range(100)])


def ids_beyond_64_bits(chance):
    return csv_text(["account", "n"], [[10**20 + n, n] for n in range(40)])


def unsigned_ids(chance):
    return csv_text(["hash", "n"], [[2**64 - 1 - n, n] for n in range(40)])


def packages(chance):
    return csv_text(["guid", "version", "digest", "size", "score"], [
        [uuid.UUID(int=chance.getrandbits(128)), "1.%d" % n, "0x%x" % (n * 77), "%.3e" % (10.0 ** (n % 9)),
         "%dE-%d" % (n, n % 5)] for n in range(50)])


def contacts(chance):
    return csv_text(["phone", "share", "price", "house number", "hour"], [
        ["+49151%08d" % (n * 1237), "%d.5%%" % n, "${:,}.00".format(n * 1000), "%d%s" % (n, "a" if n == 7 else ""),
         "%02d" % (n % 24)] for n in range(60)])


def missing_words(chance):
    words = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None", "<NA>", "#N/A", "#NA",
             "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"]
    return csv_text(["n", "word", "value", "none"], [[n, word, word, ""] for n, word in enumerate(words)] + [
        [n, "none", n / 4, ""] for n in range(19, 60)])


def remarks_among_numbers(chance):
    return csv_text(["n", "amount", "day"], [[n, "see invoice" if n == 20 else n * 3,
                                              "2024-02-%02d" % (n % 28 + 1) if n != 9 else "2024-02-31"]
                                             for n in range(50)])


def booleans(chance):
    return csv_text(["flag", "maybe", "n"], [["TRUE" if n % 3 else "False", "true" if n % 2 else "", n] for n in range(20)])


def empty_rows(chance):
    return "a,b,c\n1,,\n,,\n2,3\n\n   \n4,5,6\n7\n"


def quirks(chance):
    return ('a,a,,"q ""x"""\r\n1,.5,-0,"two\r\nlines"\r\n+2,1.,1e3, lead\r\n 3 ,007.5,-.25,"q"q\r\n'
            '4,2E+1,0.10,"a,b"\r\n').encode("utf-8-sig")


def row_names(chance):
    """As R writes them: the header says nothing of the first column."""
    return "mpg,cyl\n" + "".join('"car %d",%s,%d\n' % (n, 20 + n / 2, 4 + n % 5) for n in range(12))


def mac_lines(chance):
    return csv_text(["a", "b"], [[n, n * n] for n in range(10)], end="\r")


def one_column(chance):
    return csv_text(["value"], [[n * 1.5] for n in range(25)])


def semicolon_words(chance):
    return csv_text(["tags", "n"], [["x;y;z", n] for n in range(9)])


def huge_numbers(chance):
    return csv_text(["n", "v"], [[n, "%de300" % (n + 1)] for n in range(10)])


def repeated_rows(chance):
    return csv_text(["a", "b"], [[n % 7, "%.1f" % (n % 7)] for n in range(30)] + [[-1, 0], [-2, 0]])


def orders(chance, number=60):
    return [{"id": n, "price": round(chance.random() * 90, 2), "zip": "%05d" % (n * 733), "text number": str(n / 4),
             "customer": {"name": "Ann %d" % n, "age": 20 + n % 9}, "tags": ["x", n], "paid": n % 2 == 0,
             "created_at": "2024-05-01T%02d:00:00Z" % (n % 24), "code": "NA" if n % 5 else "DE",
             "note": None if n % 3 else "ok"} for n in range(number)]


def by_columns(records):
    return {name: {str(n): record[name] for n, record in enumerate(records)} for name in records[0]}


def json_columns(chance):
    return json.dumps(by_columns(orders(chance)))


def json_columns_unaligned(chance):
    return '{"a": {"x": 1, "y": 2}, "b": {"z": 5.5, "y": 4}, "c": "all"}'


def json_columns_of_lists(chance):
    return '{"a": [1, 2, 3.5], "b": ["x", null, "y"], "c": 7}'


def json_records(chance):
    return json.dumps(orders(chance), indent=2)


def json_ragged(chance):
    return '[{"a": 1}, {}, {"b": 2.5, "a": null}, {"a": NaN, "b": "7"}]'


def json_lists(chance):
    return "[[1, 2], [3], [5, 6.5]]"


def json_numbers(chance):
    return "[1, 2.5, null, 4]"


def packed(name, text, ending):
    """The text as a packed file."""
    data = text.encode("utf-8")
    if ending == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, data)
        return file.getvalue()
    if ending.startswith("tar"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz" if ending == "tar.gz" else "w") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return file.getvalue()
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending](data)


def packed_files():
    """An archive of two files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("one.csv", "two.csv"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


CSV = [sensor_readings, taxi_rides, zip_codes, populations, bank_statement, stop_times, stock_prices, posts,
       ids_beyond_64_bits, unsigned_ids, packages, contacts, missing_words, remarks_among_numbers, booleans, empty_rows,
       quirks, row_names, mac_lines, one_column, semicolon_words, huge_numbers, repeated_rows]
JSON = [json_records, json_columns, json_columns_unaligned, json_columns_of_lists, json_ragged, json_lists,
        json_numbers]


def tables():
    """Name and bytes of every table."""
    for make in CSV + JSON:
        made = make(random.Random(make.__name__))
        name = make.__name__ + (".csv" if make in CSV else ".json")
        yield name, made if isinstance(made, bytes) else made.encode("utf-8")
    for ending in ("gz", "bz2", "xz", "zip", "tar", "tar.gz"):
        text = zip_codes(random.Random(0))
        yield "zip_codes.csv." + ending, packed("zip_codes.csv", text, ending)
    yield "json_columns.json.gz", packed("", json_columns(random.Random(1)), "gz")


def random_column(chance, number, in_csv):
    """Values of one kind, some of them missing."""
    kinds = [
        lambda n: chance.randrange(-99, 99), lambda n: chance.randrange(10**12), lambda n: chance.randrange(2**53, 2**62),
        lambda n: round(chance.gauss(0, 50), 2), lambda n: chance.gauss(0, 1e-5), lambda n: 10.0 ** chance.randrange(-30, 30),
        lambda n: chance.choice(["x", "y y", "ü,", 'q"', "a\nb", "-", "None!"]), lambda n: "A-%d" % n,
        lambda n: chance.choice([True, False]), lambda n: "2024-05-%02d %02d:%02d" % (1 + n % 31, n % 24, n % 60)]
    if in_csv:
        kinds += [lambda n: chance.choice([".5", "1.", "+3", "2e3", "-.25E-2", "7.0", " 8", "9 "]),
                  lambda n: "%d.%d.%d" % (n, n, n)]
    make = chance.choice(kinds)
    gaps = chance.choice([0, 0, 0.2, 1])
    missing = ["", "NA", "NULL", "nan", "#N/A"] if in_csv else [None]
    return [chance.choice(missing) if chance.random() < gaps else make(n) for n in range(number)]


def random_tables(chance, number):
    """Name and bytes of tables of random columns; the first numbers the rows."""
    for n in range(number):
        rows, ending = chance.randrange(1, 40), chance.choice(["csv", "json", "columns.json"])
        columns = [list(range(rows))] + [random_column(chance, rows, ending == "csv") for _ in range(chance.randrange(1, 6))]
        records = [{"c%d" % place: values[row] for place, values in enumerate(columns)} for row in range(rows)]
        text = (csv_text(list(records[0]), [list(record.values()) for record in records], end=chance.choice(["\n", "\r\n"]))
                if ending == "csv" else json.dumps(records if ending == "json" else by_columns(records)))
        yield "random{}.{}".format(n, ending), text.encode("utf-8")


def said_by_pandas(path):
    """Rows of a table, rows without those that repeat another, and the figures of its columns of numbers, by place."""
    import pandas
    frame = pandas.read_json(path) if ".json" in path else pandas.read_csv(path)
    rows, names = len(frame), list(frame.columns)
    if not isinstance(frame.index, pandas.RangeIndex) and ".json" not in path:
        frame = frame.reset_index()  # the names of rows are values too
    # Text of objects, since a dictionary cannot be compared.
    kept = frame[~frame.apply(lambda column: column.map(repr) if column.dtype == object else column).duplicated()]
    columns = {}
    for place, name in enumerate(names, len(frame.columns) - len(names)):
        column = kept.iloc[:, place]
        found = {"name": str(name), "count": int(column.count())}
        if pandas.api.types.is_numeric_dtype(column) and not pandas.api.types.is_bool_dtype(column) and found["count"]:
            found.update({"min": column.min().item(), "max": column.max().item(), "mean": float(column.mean())})
        columns[place] = found
    return {"rows": rows, "rows_kept": len(kept), "columns": list(columns.values())}


def main():
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, content in tables():
            path = os.path.join(directory, name)
            with open(path, "wb") as file:
                file.write(content)
            found[name] = said_by_pandas(path)
    lines = ["{}: {}".format(json.dumps(name), json.dumps(said)) for name, said in found.items()]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
