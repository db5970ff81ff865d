"""What can be said of one column: its role in the table, its numbers, its frequent values."""

import collections
import datetime
import math
import re

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
# Beyond the quartiles by this many times their distance, a value is an outlier (Tukey's rule).
OUTLIER_FENCE = 1.5


def summarise(column, values):
    """The summary of a column from its cleaned values; `None` is a missing one."""
    name, kind = column["name"], column["type"]
    present = [value for value in values if value is not None]
    distinct = len(set(present))
    summary = {
        "name": name,
        "type": kind,
        "role": role(name, kind, len(present), distinct),
        "present": len(present),
        "missing": len(values) - len(present),
        "optional": len(values) - len(present) > OPTIONAL_MISSING_MIN * len(values),
        "distinct": distinct,
    }
    if summary["role"] == "measure":
        summary["numbers"] = numbers(present)
        # Few different numbers (a rating, a discount) read better one by one than in bins.
        if distinct <= SINGLE_VALUES_MAX:
            summary["values"] = sorted(map(list, collections.Counter(present).items()))
        else:
            summary["histogram"] = histogram(present)
    elif summary["role"] == "category":
        summary["top"] = [[str(value).lower() if kind == "boolean" else value, count] for value, count in
                          collections.Counter(present).most_common(TOP_VALUES_MAX)]
    elif summary["role"] == "date":
        summary["earliest"], summary["latest"] = min(present), max(present)
        summary["periods"] = periods(present)
    return summary


def role(name, kind, present, distinct):
    """What a column is for: `identifier`, `measure`, `date`, `category`, `free text` or `empty`."""
    if not present:
        return "empty"
    if kind in ("number", "text") and IDENTIFIER_NAME.search(name) and distinct >= IDENTIFIER_DISTINCT_MIN * present:
        return "identifier"
    if kind in ("number", "date"):
        return "measure" if kind == "number" else "date"
    return "category" if distinct <= max(CATEGORY_DISTINCT_MAX, present / 2) and distinct < present else "free text"


def numbers(values):
    """Count, least, greatest, sum, mean, deviation, quartiles and outliers."""
    ordered = sorted(values)
    mean = math.fsum(ordered) / len(ordered)
    spread = math.fsum((value - mean) ** 2 for value in ordered)
    first, median, third = (quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    fence = OUTLIER_FENCE * (third - first)
    return {
        "count": len(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "sum": tidy(math.fsum(ordered)),
        "mean": tidy(mean),
        # The deviation of a sample; one value has none.
        "stdev": tidy(math.sqrt(spread / (len(ordered) - 1))) if len(ordered) > 1 else None,
        "q1": tidy(first),
        "median": tidy(median),
        "q3": tidy(third),
        "outliers": sum(value < first - fence or value > third + fence for value in ordered),
    }


def quantile(ordered, share):
    """The value below which `share` of the sorted values lie, between two neighbours by proportion."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def tidy(value):
    """A computed number without the digits that only binary fractions have."""
    return float("{:.12g}".format(value))


def histogram(values):
    """Bins with round edges, of more than one value: `{"edges": [n + 1 numbers], "counts": [n numbers]}`."""
    low, high = min(values), max(values)
    step = round_step((high - low) / BINS_WANTED)
    if all(isinstance(value, int) for value in values):
        step = max(step, 1)
    start = math.floor(low / step) * step
    bins = max(1, min(BINS_MAX, math.floor((high - start) / step) + 1))
    counts = [0] * bins
    for value in values:
        # Held to the bins, since numbers far from zero do not divide exactly.
        counts[max(0, min(bins - 1, math.floor((value - start) / step)))] += 1
    return {"edges": [tidy(start + step * number) for number in range(bins + 1)], "counts": counts}


def round_step(step):
    """The next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step), 10 * power)


# Name of a period, its number for a date, and its label for a number; finest first.
PERIODS = [
    ("day", lambda day: day.toordinal(), lambda n: datetime.date.fromordinal(n).isoformat()),
    ("month", lambda day: day.year * 12 + day.month - 1, lambda n: "{:04d}-{:02d}".format(n // 12, n % 12 + 1)),
    ("year", lambda day: day.year, "{:04d}".format),
    ("decade", lambda day: day.year // 10, "{:03d}0s".format),
    ("century", lambda day: day.year // 100, "{:02d}00s".format),
]


def periods(values):
    """How many values fall on each day (month, year …) between the first and the last, gaps included."""
    days = [datetime.date(*map(int, value.split("-"))) for value in values]
    for unit, number, label in PERIODS:
        counts = collections.Counter(map(number, days))
        first, last = min(counts), max(counts)
        if last - first < PERIODS_MAX:
            break
    return {"unit": unit, "counts": [[label(n), counts.get(n, 0)] for n in range(first, last + 1)]}
