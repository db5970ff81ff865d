"""Which rows were there before, told in some bytes for each."""

import array
import hashlib

# Each table is grown by itself, so that not all of the memory is needed twice at once.
TABLES = 64


class RowsSeen:
    """Digests of 64 bits in open hash tables: 11 to 21 bytes a row, where a set of them takes 80.

    Among ten million different rows, two have the same digest once in 370,000 times.
    """

    def __init__(self):
        self.tables = [array.array("Q", bytes(8 * 16)) for _ in range(TABLES)]
        self.filled = [0] * TABLES

    def add(self, text):
        """Whether this row is new."""
        # Zero marks a free place.
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1
        number = digest % TABLES
        table = self.tables[number]
        if not put(table, digest):
            return False
        self.filled[number] += 1
        if 4 * self.filled[number] > 3 * len(table):
            self.tables[number] = larger = array.array("Q", bytes(16 * len(table)))
            for known in filter(None, table):
                put(larger, known)
        return True


def put(table, digest):
    """Puts a digest into its place; false when it is there."""
    last = len(table) - 1
    place = digest // TABLES & last
    while table[place]:
        if table[place] == digest:
            return False
        place = place + 1 & last
    table[place] = digest
    return True
