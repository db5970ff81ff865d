"""Values of a table: which are missing, which are numbers or dates, and what type a column has."""

import datetime
import json
import re

# Spellings of "no value" in exports; compared in lower case.
MISSING = {"", "null", "none", "nan", "n/a", "-"}
# A whole word somewhere (Namibia's code, a name), so it is a missing value among numbers and dates only.
MISSING_AMONG_NUMBERS = MISSING | {"na"}
# A column has a type when nine of ten values have it: fewer, and it is text; more, and the rest are bad rows.
TYPE_SHARE_MIN = 0.9
# Keeps the sum of squares of a billion values finite.
NUMBER_MAX = 1e140
# Deeper objects are kept as JSON text, so that a hostile document cannot exhaust the stack.
NESTING_MAX = 8

# Digits behind a leading zero are a code (zip, article number), not a number.
NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?\Z")
DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def is_missing(value, column_type="text"):
    """Whether a value of such a column stands for none."""
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    spellings = MISSING if column_type in ("text", "boolean") else MISSING_AMONG_NUMBERS
    return value.strip().lower() in spellings


def to_number(value):
    """The value as int or float, or None when it is not a number (or none that can be computed with)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not NUMBER.match(text):
            return None
        # Whole numbers keep all their digits up to the size of a 64-bit id.
        value = int(text) if len(text) <= 20 and re.match(r"[+-]?[0-9]+\Z", text) else float(text)
    if not isinstance(value, (int, float)):
        return None
    return value if -NUMBER_MAX < value < NUMBER_MAX else None


def to_date(value):
    """The ISO day of a date or time, such as `2024-05-31`; None when it is not one."""
    match = DATE.match(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    year, month, day = (int(part) for part in match.group(1, 2, 3))
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return None


def to_boolean(value):
    """True or False, from JSON or spelled out; None when it is neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


READERS = {"number": to_number, "date": to_date, "boolean": to_boolean}


def column_type(values):
    """`number`, `date`, `boolean`, `text`, or `empty` when every value is missing."""
    if all(is_missing(value) for value in values):
        return "empty"
    for name, read in READERS.items():
        present = [value for value in values if not is_missing(value, name)]
        fitting = sum(read(value) is not None for value in present)
        if present and fitting >= TYPE_SHARE_MIN * len(present):
            return name
    return "text"


def clean_text(value):
    """Text without control characters and lone surrogates, and without space around it."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", value).strip()


def flatten(record):
    """A record with nested objects spread over columns such as `customer.city`.

    Lists are kept as JSON text. Raises ValueError when two values claim one column.
    """
    flat = {}

    def add(value, column, depth):
        if isinstance(value, dict) and (value or not depth) and depth < NESTING_MAX:
            for key, inner in value.items():
                add(inner, "{}.{}".format(column, key) if depth else key, depth + 1)
            return
        name = clean_text(column) or "(no name)"
        if name in flat:
            raise ValueError('two values for column "{}"'.format(name))
        flat[name] = json.dumps(value) if isinstance(value, (dict, list)) else value

    add(record, "", 0)
    return flat
