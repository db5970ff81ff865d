"""JSON documents of any length, read a value at a time."""

import io
import itertools
import json
import math
import re

from example_support import WrongInput, say
from example_values import WHOLE_MAX, WHOLE_MIN

CHUNK_CHARS = 1 << 18
# How deep in a document the list of records is looked for, as in {"data": {"orders": [...]}}.
LIST_DEPTH_MAX = 3
SPACE = re.compile(r"[ \t\n\r]*")
# A number or -Infinity that ends so near to the end of a chunk may go on in the next: of `1.5e-7` a chunk may hold `1.5e-`.
TOKEN_CHARS_MAX = 16


def whole(digits):
    """An int, or the text of one that 64 bits do not hold: an id, of which no digit may be lost."""
    number = int(digits) if len(digits) <= 20 else None
    return number if number is not None and WHOLE_MIN <= number <= WHOLE_MAX else digits


def decimal(digits):
    number = float(digits)
    return number if math.isfinite(number) else digits


DECODER = json.JSONDecoder(parse_int=whole, parse_float=decimal, parse_constant=str)


class JsonText:
    """A place in a document, which moves on as values are taken."""

    def __init__(self, source):
        self.source, self.file = source, source.open()
        self.text, self.at = "", 0
        self.line, self.column = 1, 1  # of the text's beginning

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def more(self):
        """Puts more text in the place of what was taken; false at the end. A long value is not read in small parts."""
        self.line, self.column = self.place(self.at)
        self.text, self.at = self.text[self.at:], 0
        added = self.file.read(max(CHUNK_CHARS, len(self.text)))
        self.text += added
        return added

    def place(self, at):
        lines = self.text.count("\n", 0, at)
        return self.line + lines, at - self.text.rfind("\n", 0, at) if lines else self.column + at

    def wrong(self, message, at):
        line, column = self.place(at)
        return WrongInput("{} is not JSON: {} at line {}, column {} (one object per line? then --format jsonl)".format(
            self.source.path, message, line, column))

    def peek(self):
        """The first character of what comes next, or nothing at the end."""
        while True:
            self.at = SPACE.match(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted):
        """Takes one of the wanted characters."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.wrong("Expecting {}".format(" or ".join("'{}'".format(it) for it in wanted)), self.at)
        self.at += 1
        return found

    def value(self):
        """Takes the next value as a whole."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                if end <= len(self.text) - TOKEN_CHARS_MAX:
                    self.at = end
                    return value
                taken = end - self.at
                if not self.more():
                    self.at = taken
                    return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - TOKEN_CHARS_MAX
                back = error.pos - self.at
                if not cut or not self.more():
                    raise self.wrong(error.msg, self.at + back)
            except RecursionError:
                raise WrongInput("{} is nested too deeply: give a table of records".format(self.source.path))

    def end(self):
        """Refuses what follows the document."""
        if self.peek():
            raise self.wrong("Extra data", self.at)

    def elements(self):
        """Stops at every element of a list, which the caller takes."""
        self.take("[")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield
            if self.take(",]") == "]":
                return

    def members(self):
        """The names in an object; the caller takes the value of each."""
        self.take("{")
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            if self.peek() != '"':
                raise self.wrong("Expecting property name enclosed in double quotes", self.at)
            name = self.value()
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def survey(self, path, lists):
        """Takes the next value and notes the lists in it that have objects, with their length."""
        first = self.peek()
        if first == "{" and len(path) < LIST_DEPTH_MAX:
            for name in self.members():
                self.survey(path + (name,), lists)
        elif first == "[":
            length = objects = 0
            for length, _ in enumerate(self.elements(), 1):
                objects += self.peek() == "{"
                self.value()
            if objects:
                lists[path] = length
        else:
            self.value()

    def go_to(self, path):
        """Moves to the value at this path, which a survey has found."""
        for name in self.members() if path else ():
            if name == path[0]:
                return self.go_to(path[1:])
            self.survey((name,), {})


class JsonDocument:
    """The values in a document: those of its list, of the one inside that is named or longest, or of its columns."""

    def __init__(self, source, table):
        self.source, self.path, self.columns = source, (), None
        lists = {}
        with JsonText(source) as text:
            if text.peek() == "[" and not table:
                text.take("[")
                if text.peek() == "]":
                    raise WrongInput("{} holds an empty list: give at least one record".format(source.path))
                return
            text.survey((), lists)
            text.end()
        named = {".".join(path): path for path in lists}
        if table and table not in named:
            raise WrongInput('{} holds no list "{}": it holds {}'.format(
                source.path, table, ", ".join(sorted(named)) or "no list of records"))
        if named:
            name = table or max(named, key=lambda it: lists[named[it]])
            self.path = named[name]
            say('records are the list "{}"{}'.format(
                name, "" if len(named) == 1 else " (of {}; choose with --table)".format(", ".join(sorted(named)))))
        else:
            self.columns = read_columns(source)

    def values(self):
        """Every value from the first on, each time it is called."""
        if self.columns is not None:
            for stream in self.columns.values():
                stream.seek(0)
            for texts in itertools.zip_longest(*self.columns.values(), fillvalue=b"null"):
                yield dict(zip(self.columns, DECODER.decode("[" + b",".join(texts).decode("ascii") + "]")))
            return
        with JsonText(self.source) as text:
            text.go_to(self.path)
            by_position = None
            for _ in text.elements():
                value = text.value()
                if by_position is None:
                    by_position = not isinstance(value, dict)
                if by_position and not isinstance(value, dict):
                    # A table without names, [[1, 2], [3, 4]] or [1, 2]: its columns are numbered.
                    value = {str(n): it for n, it in enumerate(value if isinstance(value, list) else [value])}
                yield value
            if not self.path:
                text.end()


def read_columns(source):
    """The columns of a document such as {"a": {"0": 1, "1": 2}, "b": {…}} or {"a": [1, 2], "b": […]}.

    Each is a stream with a value on a line, in the order of the rows: less than the document takes itself.
    """
    labels, columns, constants = io.BytesIO(), {}, {}
    with JsonText(source) as text:
        for name in text.members() if text.peek() == "{" else ():
            first = text.peek()
            if first not in ("{", "["):
                constants[name] = to_line(text.value())
                continue
            own_labels, values = io.BytesIO(), io.BytesIO()
            for label in text.members() if first == "{" else map(str, (n for n, _ in enumerate(text.elements()))):
                own_labels.write(to_line(label))
                values.write(to_line(text.value()))
            if not columns:
                labels = own_labels
            elif labels.getvalue() != own_labels.getvalue():
                values = align(values, own_labels, labels)
            columns[name] = values
    rows = labels.getvalue().count(b"\n")
    if not rows:
        raise WrongInput(
            "{} is not a table: it is JSON without a list of objects; give [{{...}}, {{...}}] "
            'or {{"records": [{{...}}, {{...}}]}}'.format(source.path))
    columns.update((name, io.BytesIO(line * rows)) for name, line in constants.items())
    return columns


def to_line(value):
    return json.dumps(value).encode("ascii") + b"\n"


def align(values, own_labels, labels):
    """A column's values in the order of the labels so far; those labels that are new are added."""
    found = dict(zip(own_labels.getvalue().splitlines(), values.getvalue().splitlines()))
    known = labels.getvalue().splitlines()
    known_set = set(known)
    new = [label for label in found if label not in known_set]
    labels.seek(0, io.SEEK_END)
    labels.writelines(label + b"\n" for label in new)
    return io.BytesIO(b"".join(found.get(label, b"null") + b"\n" for label in known + new))
