"""Values of a table: which are missing, which are numbers, dates or codes, and what type a column has.

Nothing is guessed that cannot be undone: a code keeps its zeros, an id its digits, a date its time of
day, and a value that does not fit its column stays as it is.
"""

import datetime
import re

# What stands for "no value" in a CSV file: the words that pandas takes for it.
MISSING_WORDS = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
# In a column of numbers, dates or booleans they stand for it in any case, and so does a dash.
MISSING_AMONG_TYPED = frozenset(word.lower() for word in MISSING_WORDS) | {"-", "--"}
# A column has a type when nine of ten values have it: fewer, and it is text; more, and the rest do not fit.
TYPE_SHARE_MIN = 0.9
# Beyond this, distances between numbers could not be computed: not numbers, but text.
NUMBER_MAX = 1e305
WHOLE_MIN, WHOLE_MAX = -(2**63), 2**64 - 1

NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
DAY = r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME = (r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]{1,9})?)?"
        r"(?: ?(?:Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?")
# The first shape that matches is a value's. Digits behind a leading zero are a code (zip, article number), and so
# are those of a telephone number. In `1,234` the comma may divide thousands or begin a fraction: its column tells.
SHAPES = re.compile(r"""
      (?P<code>    0[0-9]+ | \+[0-9]{8,} )\Z
    | (?P<whole>   [+-]?[0-9]+ )\Z
    | (?P<decimal> NUMBER )\Z
    | (?P<date>    DAY (?:[T\ ]TIME)? )\Z
    | (?P<group>   [+-]?[1-9][0-9]{0,2},[0-9]{3} )\Z
    | (?P<groups>  [+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)? )\Z
    | (?P<comma>   [+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]+)?|[0-9]+,[0-9]+) )\Z
    | (?P<boolean> [Tt]rue | TRUE | [Ff]alse | FALSE )\Z
    | (?P<word>    [^0-9]* )\Z
    """.replace("NUMBER", NUMBER).replace("DAY", DAY).replace("TIME", TIME.replace(" ", r"\ ")), re.VERBOSE)
# Types with the shapes that their values have, and the meaning of commas in numbers; the first that fits is taken.
TYPES = [
    ("boolean", None, {"boolean"}),
    ("date", None, {"date"}),
    ("number", None, {"whole", "decimal"}),
    ("number", "thousands", {"whole", "decimal", "group", "groups"}),
    ("number", "fraction", {"whole", "group", "comma"}),
]
# What is no number and still no reason to doubt that a column holds numbers: `see invoice`. `12a` is one: its column
# holds codes, such as the numbers of houses.
REMARKS = {"boolean", "word"}

PLAIN_NUMBER = re.compile(NUMBER + r"\Z")
DATE_PARTS = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r" ?(?:Z|UTC|([+-])([0-9]{2}):?([0-9]{2})?)?)?\Z")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def shape(value):
    """What a value looks like: a shape, `missing`, `absent` (missing among typed values) or `other`."""
    if not isinstance(value, str):
        return ("missing" if value is None else "boolean" if isinstance(value, bool)
                else "whole" if isinstance(value, int) else "decimal" if isinstance(value, float) else "other")
    text = value.strip()
    found = SHAPES.match(text)
    name = found.lastgroup if found else "other"
    if name == "whole" and len(text) > 18:
        # More digits than 64 bits hold are an id: as a fraction of a power of two it would lose some.
        return "whole" if len(text) <= 21 and WHOLE_MIN <= int(text) <= WHOLE_MAX else "code"
    if name == "word" or name == "other":
        return "missing" if not text else "absent" if text.lower() in MISSING_AMONG_TYPED else name
    # Only some can be too large, or be a day that its month does not have.
    if name == "decimal" and ("e" in text or "E" in text or len(text) > 300) and to_number(text) is None:
        return "word"
    return "other" if name == "date" and text[8:10] > "28" and to_instant(text) is None else name


def describe_column(name, shapes, commas_divide_fields):
    """A column's type (`number`, `date`, `boolean`, `text` or `empty`), from the count of its values' shapes.

    Where need be also the meaning of its commas, and how many values do not fit.
    """
    present = sum(shapes.values()) - shapes["missing"] - shapes["absent"]
    if not present:
        return {"name": name, "type": "empty"}
    for kind, commas, fitting in TYPES:
        # In a file whose fields are divided by commas "1,2" is a list; elsewhere "1,234" alone may be either.
        if (commas == "fraction" and (commas_divide_fields or not shapes["comma"])
                or commas == "thousands" and not (commas_divide_fields or shapes["groups"])):
            continue
        unfit = present - sum(shapes[it] for it in fitting)
        remarks = sum(shapes[it] for it in REMARKS)
        if unfit <= (1 - TYPE_SHARE_MIN) * present and (kind != "number" or unfit == remarks):
            column = {"name": name, "type": kind, "commas": commas, "unfit": unfit}
            return {key: value for key, value in column.items() if value}
    return {"name": name, "type": "text"}


def to_number(value, commas=None):
    """The value as int or float, the same for every spelling; None when it is not one."""
    if isinstance(value, str):
        text = value.strip()
        if commas == "thousands":
            text = text.replace(",", "")
        elif commas == "fraction":
            text = text.replace(".", "").replace(",", ".")
        if not PLAIN_NUMBER.match(text):
            return None
        try:
            value = int(text)
        except ValueError:
            value = float(text)
    if isinstance(value, float):
        if not abs(value) < NUMBER_MAX:
            return None
        return int(value) if abs(value) < 2**53 and value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) and WHOLE_MIN <= value <= WHOLE_MAX else None


def to_instant(value):
    """Seconds of a date or time for comparison, those without a zone taken as UTC; None when it is not one."""
    match = DATE_PARTS.match(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups("0")
    try:
        seconds = datetime.date(int(year), int(month), int(day)).toordinal() * 86400
    except ValueError:
        return None
    zone = int(zone_hours) * 3600 + int(zone_minutes) * 60
    seconds += int(hour) * 3600 + int(minute) * 60 + int(second) + (zone if sign == "-" else -zone)
    return seconds, float("0." + fraction)


def to_date(value):
    """A date or time as it stands, with all that it says of the time of day; None when it is not one."""
    return value.strip() if to_instant(value) else None


def to_boolean(value):
    """True or False, from JSON or spelled out; None when it is neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def cleaner(column):
    """The function that gives a value of this column its clean form: None when missing, text when it does not fit."""
    if column["type"] in ("text", "empty"):
        read, missing = None, ("",)
    else:
        read, missing = {"number": to_number, "date": to_date, "boolean": to_boolean}[column["type"]], MISSING_AMONG_TYPED
        if column.get("commas"):
            commas = column["commas"]
            read = lambda value: to_number(value, commas)  # noqa: E731

    def clean(value):
        if value is None:
            return None
        if read:
            found = read(value)
            if found is not None:
                return found
        text = clean_text(value if isinstance(value, str) else spell(value))
        return None if text.lower() in missing or not text else text

    return clean


def fits(value, kind):
    """Whether a clean value is of the column's type, or missing."""
    return value is None or kind in ("text", "empty") or (
        to_instant(value) is not None if kind == "date" else not isinstance(value, str))


def spell(value):
    """A value of JSON among text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def clean_text(value):
    """Text without control characters and lone surrogates, and without space around it."""
    text = value.strip()
    return text if text.isprintable() else CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).strip()
