"""What can be said of one column: its role in the table, its numbers, its frequent values.

Values are counted one by one while few differ. Of many, 8 bytes each are kept.
"""

import array
import bisect
import collections
import datetime
import heapq
import itertools
import math
import re

from example_values import to_instant

# A column emptier than this is meant to be (a remark, a coupon): it does not count as incomplete.
OPTIONAL_MISSING_MIN = 0.5
# An id may be repeated now and then by mistake, and is an id all the same.
IDENTIFIER_DISTINCT_MIN = 0.95
IDENTIFIER_NAME = re.compile(r"(?:^|[._\s-])(?:id|key|uuid|guid|number|no|nr)\Z|[a-z](?:Id|ID|Key)\Z", re.ASCII)
# Text with more distinct values than this, most of them seen once, is free text: counting it says nothing.
CATEGORY_DISTINCT_MAX = 20
TOP_VALUES_MAX = 10
SINGLE_VALUES_MAX = 12
BINS_WANTED = 16
BINS_MAX = 32
PERIODS_MAX = 40
# Different values that are counted one by one, all columns together; a column with more has no frequent ones.
COUNTED_MAX = 20_000
# Values that are sorted, or compared, at a time: as Python objects they take 40 to 80 bytes each.
SORTED_MAX = 100_000
# Beyond this, squares are computed of smaller numbers.
SQUARED_MAX = 1e140
# Beyond the quartiles by this many times their distance, a value is an outlier (Tukey's rule).
OUTLIER_FENCE = 1.5


class ColumnFigures:
    """Collects a column's cleaned values; `None` is a missing one, and text that does not fit is not computed with."""

    def __init__(self, column, columns):
        self.name, self.kind = column["name"], column["type"]
        self.counted_max = max(2 * CATEGORY_DISTINCT_MAX, COUNTED_MAX // columns)
        self.rows = self.present = 0
        self.counts = collections.Counter()
        self.numbers, self.digests = Numbers(), array.array("q")
        self.dates = Dates()

    def add(self, values):
        present = [value for value in values if value is not None]
        self.rows += len(values)
        self.present += len(present)
        if self.kind == "date":
            self.dates.add(present)
        if self.counts is None:
            self.keep(present)
            return
        self.counts.update(present)
        if len(self.counts) > self.counted_max:
            counts, self.counts = self.counts, None
            self.keep(list(counts.elements()))

    def keep(self, values):
        if self.kind == "number":
            self.numbers.add([value for value in values if not isinstance(value, str)])
            values = [value for value in values if isinstance(value, str)]
        self.digests.extend(map(hash, values))

    def summary(self):
        ordered = self.ordered_numbers() if self.kind == "number" else ()
        distinct = len(self.counts) if self.counts is not None else (
            sum(1 for _ in itertools.groupby(ordered)) + count_different(self.digests))
        summary = {
            "name": self.name,
            "type": self.kind,
            "role": self.role(distinct),
            "present": self.present,
            "missing": self.rows - self.present,
            "optional": self.rows - self.present > OPTIONAL_MISSING_MIN * self.rows,
            "distinct": distinct,
        }
        if ordered:
            summary["numbers"] = numbers(ordered)
        if summary["role"] == "measure":
            # Few different numbers (a rating, a discount) read better one by one than in bins.
            if distinct <= SINGLE_VALUES_MAX:
                summary["values"] = [[value, len(list(same))] for value, same in itertools.groupby(ordered)]
            else:
                summary["histogram"] = histogram(ordered)
        elif summary["role"] == "category":
            summary["top"] = [[str(value).lower() if self.kind == "boolean" else value, count]
                              for value, count in self.counts.most_common(TOP_VALUES_MAX)]
        elif summary["role"] == "date":
            summary.update(self.dates.summary())
        return summary

    def ordered_numbers(self):
        if self.counts is None:
            return self.numbers.ordered()
        found = sorted(it for it in self.counts.items() if not isinstance(it[0], str))
        return list(itertools.chain.from_iterable(itertools.repeat(value, count) for value, count in found))

    def role(self, distinct):
        """What a column is for: `identifier`, `measure`, `date`, `category`, `free text` or `empty`."""
        if not self.present:
            return "empty"
        if (self.kind in ("number", "text") and IDENTIFIER_NAME.search(self.name)
                and distinct >= IDENTIFIER_DISTINCT_MIN * self.present):
            return "identifier"
        if self.kind in ("number", "date"):
            return "measure" if self.kind == "number" else "date"
        few = self.counts is not None and distinct <= max(CATEGORY_DISTINCT_MAX, self.present / 2)
        return "category" if few and distinct < self.present else "free text"


class Numbers:
    """Numbers of 8 bytes: whole ones with or without a sign, or with a fraction, the first that holds them exactly."""

    CODES = "qQd"

    def __init__(self):
        self.values = array.array("q")

    def add(self, values):
        for code in self.CODES[self.CODES.index(self.values.typecode):]:
            try:
                added = array.array(code, values)
                if code != self.values.typecode:
                    self.values = array.array(code, self.values)
                self.values.extend(added)
                return
            except (OverflowError, TypeError):
                pass  # the last holds all

    def ordered(self):
        """The numbers in their order, sorted in parts."""
        parts = []
        for start in range(0, len(self.values), SORTED_MAX):
            part = slice(start, start + SORTED_MAX)
            self.values[part] = array.array(self.values.typecode, sorted(self.values[part]))
            parts.append(memoryview(self.values)[part])
        return self.values if len(parts) < 2 else array.array(self.values.typecode, heapq.merge(*parts))


def count_different(digests):
    """How many of the digests differ, counted in parts."""
    parts = math.ceil(len(digests) / SORTED_MAX)
    return sum(len({digest for digest in digests if digest % parts == part}) for part in range(parts))


def numbers(ordered):
    """Count, least, greatest, sum, mean, deviation, quartiles and outliers of numbers in their order."""
    count = len(ordered)
    size = max(abs(ordered[0]), abs(ordered[-1]))
    unit = size if size > SQUARED_MAX else 1
    total = math.fsum(ordered if unit == 1 else (value / unit for value in ordered))
    mean = total / count
    spread = math.fsum((value / unit - mean) ** 2 for value in ordered)
    first, median, third = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    fence = OUTLIER_FENCE * (third - first)
    return {
        "count": count,
        "min": ordered[0],
        "max": ordered[-1],
        "sum": tidy(total * unit) if math.isfinite(total * unit) else None,
        "mean": tidy(mean * unit),
        # The deviation of a sample; one value has none.
        "stdev": tidy(math.sqrt(spread / (count - 1)) * unit) if count > 1 else None,
        "q1": tidy(first),
        "median": tidy(median),
        "q3": tidy(third),
        "outliers": bisect.bisect_left(ordered, first - fence) + count - bisect.bisect_right(ordered, third + fence),
    }


def quantile(ordered, share):
    """The value below which `share` of the sorted values lie, between two neighbours by proportion."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    part = position - below
    return ordered[below] * (1 - part) + ordered[above] * part if part else ordered[below]


def tidy(value):
    """A computed number without the digits that only binary fractions have."""
    return value if isinstance(value, int) else float("{:.12g}".format(value))


def histogram(ordered):
    """Bins with round edges, of more than one value: `{"edges": [n + 1 numbers], "counts": [n numbers]}`."""
    low, high = ordered[0], ordered[-1]
    step = round_step(high / BINS_WANTED - low / BINS_WANTED or (high - low) / BINS_WANTED)
    if all(isinstance(value, int) for value in ordered):
        step = max(int(step), 1)  # long ids differ in digits that no fraction holds
        start = low // step * step
        bins = (high - start) // step + 1
    else:
        start = math.floor(low / step) * step
        bins = math.floor((high - start) / step) + 1
    bins = max(1, min(BINS_MAX, bins))
    edges = [start + step * number for number in range(bins + 1)]
    # Held to the bins, since numbers far from zero do not divide exactly.
    below = [0] + [bisect.bisect_left(ordered, edge) for edge in edges[1:-1]] + [len(ordered)]
    tidied = [tidy(edge) for edge in edges]
    return {"edges": tidied if tidied[0] < tidied[-1] else edges,
            "counts": [more - less for less, more in zip(below, below[1:])]}


def round_step(step):
    """The next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step), 10 * power)


def day_number(key):
    return datetime.date(int(key[:4]), int(key[5:7]), int(key[8:10])).toordinal()


def day_label(number):
    return datetime.date.fromordinal(number).isoformat()


# Name of a period, how much of a date's text names one, its number, and its label for a number; finest first.
PERIODS = [
    ("hour", 13, lambda key: day_number(key) * 24 + int(key[11:]),
     lambda n: "{} {:02d}:00".format(day_label(n // 24), n % 24)),
    ("day", 10, day_number, day_label),
    ("month", 7, lambda key: int(key[:4]) * 12 + int(key[5:]) - 1,
     lambda n: "{:04d}-{:02d}".format(n // 12, n % 12 + 1)),
    ("year", 4, int, "{:04d}".format),
    ("decade", 3, int, "{:03d}0s".format),
    ("century", 2, int, "{:02d}00s".format),
]


class Dates:
    """The first and last date, and how many fall on each hour (day, month …), as their own zones have it."""

    def __init__(self):
        self.first = self.last = None
        self.period, self.counts = 0, collections.Counter()

    def add(self, values):
        found = [(instant, value) for instant, value in zip(map(to_instant, values), values) if instant]
        if not found:
            return
        self.first = min(found + ([self.first] if self.first else []))
        self.last = max(found + ([self.last] if self.last else []))
        if self.period == 0 and any(len(value) < PERIODS[0][1] for _, value in found):
            self.coarsen()  # days among them have no hour
        length = PERIODS[self.period][1]
        self.counts.update(value[:length] for _, value in found)
        while len(self.counts) > PERIODS_MAX and self.period + 1 < len(PERIODS):
            self.coarsen()

    def coarsen(self):
        self.period += 1
        counts, self.counts = self.counts, collections.Counter()
        for key, count in counts.items():
            self.counts[key[:PERIODS[self.period][1]]] += count

    def summary(self):
        """Earliest, latest, and the finest periods of which no more than can be drawn lie between them, gaps included."""
        while True:
            unit, _, number, label = PERIODS[self.period]
            counts = {number(key): count for key, count in self.counts.items()}
            first, last = min(counts), max(counts)
            if last - first < PERIODS_MAX or self.period + 1 == len(PERIODS):
                break
            self.coarsen()
        return {
            "earliest": self.first[1],
            "latest": self.last[1],
            "periods": {"unit": unit, "counts": [[label(n), counts.get(n, 0)] for n in range(first, last + 1)]},
        }
