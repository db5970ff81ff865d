#!/usr/bin/env python3
"""Makes the sample input of the example: the orders of a small shop over a year, a few of them bad.

    python3 scripts/make_sample_input.py > scripts/sample_input.json

The same seed gives the same bytes on every Python (only `random()` is used, which never changes).
"""

import argparse
import datetime
import json
import random

DEFAULT_SEED = 2024
DEFAULT_RECORDS = 300

FIRST_NAMES = ["Ada", "Bruno", "Chiara", "Dmitri", "Élodie", "Femke", "Goran", "Hanna", "Ivo", "Jana",
               "Kofi", "Lena", "Mateo", "Nadia", "Olaf", "Priya", "Quentin", "Rosa", "Sören", "Tomáš"]
LAST_NAMES = ["Almeida", "Becker", "Conti", "Dubois", "Eriksen", "Fischer", "García", "Horvat", "Ito",
              "Jansen", "Kowalski", "Lindqvist", "Moreau", "Novák", "O'Brien", "Petrov", "Rossi", "Silva"]
# Country and its share of the orders.
COUNTRIES = [("DE", 0.30), ("FR", 0.18), ("IT", 0.14), ("NL", 0.12), ("PL", 0.10), ("ES", 0.09), ("CZ", 0.07)]
SEGMENTS = [("private", 0.62), ("business", 0.29), ("public sector", 0.09)]
PAYMENTS = [("card", 0.46), ("transfer", 0.24), ("wallet", 0.21), ("invoice", 0.09)]
CHANNELS = [("web", 0.58), ("app", 0.31), ("phone", 0.11)]
# Category, product, list price, share of the orders.
PRODUCTS = [
    (("office", "Desk lamp", 39.9), 0.13), (("office", "Standing desk", 429.0), 0.06),
    (("office", "Desk chair", 189.0), 0.08), (("kitchen", "Kettle", 34.5), 0.12),
    (("kitchen", "Coffee grinder", 89.0), 0.10), (("kitchen", "Knife set", 119.0), 0.07),
    (("outdoor", "Rain jacket", 74.9), 0.11), (("outdoor", "Two-person tent", 219.0), 0.05),
    (("outdoor", "Water bottle", 18.5), 0.14), (("books", "Field guide", 24.0), 0.09),
    (("books", "Atlas", 58.0), 0.05),
]
REMARKS = ["leave at the neighbour's", "gift, please wrap", "call before delivery", "invoice to <accounts@example.org>"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument("--records", type=int, default=DEFAULT_RECORDS, help="default: %(default)s")
    arguments = parser.parse_args()
    records = make_records(random.Random(arguments.seed), arguments.records)
    # A record on a line, plain ASCII: easy to read in a diff, the same on every system.
    print("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]")


def make_records(chance, number):
    """Orders by date, with the faults that exports really have spread among them."""
    days = sorted(order_day(chance) for _ in range(number))
    records = [make_order(chance, serial, day) for serial, day in enumerate(days, 1)]
    if number >= 100:
        spoil(records)
    return records


def order_day(chance):
    """A day of 2024; towards the end of the year there are more orders."""
    share = (chance.random() + max(chance.random(), chance.random())) / 2 if chance.random() < 0.4 else chance.random()
    return datetime.date(2024, 1, 1) + datetime.timedelta(days=int(share * 366))


def make_order(chance, serial, day):
    category, product, list_price = pick(chance, PRODUCTS)
    segment = pick(chance, SEGMENTS)
    quantity = 1 + int(chance.random() ** 3 * (12 if segment == "business" else 5))
    price = round(list_price * (0.9 + 0.2 * chance.random()), 2)
    discount = pick(chance, [(0, 0.7), (5, 0.15), (10, 0.1), (20, 0.05)])
    name = "{} {}".format(FIRST_NAMES[int(chance.random() * len(FIRST_NAMES))],
                          LAST_NAMES[int(chance.random() * len(LAST_NAMES))])
    order = {
        "order_id": "ORD-{:05d}".format(10400 + serial),
        "ordered_at": "{}T{:02d}:{:02d}:00Z".format(
            day.isoformat(), 7 + int(chance.random() * 15), int(chance.random() * 60)),
        "customer": {"name": name, "segment": segment, "country": pick(chance, COUNTRIES)},
        "channel": pick(chance, CHANNELS),
        "category": category,
        "product": product,
        "quantity": quantity,
        "unit_price": price,
        "discount_percent": discount,
        "total": round(quantity * price * (100 - discount) / 100, 2),
        "payment": pick(chance, PAYMENTS),
        "delivery_days": 1 + int(chance.random() * chance.random() * 11),
        "returned": chance.random() < 0.06,
    }
    if chance.random() < 0.12:
        order["remark"] = REMARKS[int(chance.random() * len(REMARKS))]
    return order


def pick(chance, weighted):
    """One of the values by its share; the shares add up to one."""
    point = chance.random()
    for value, share in weighted:
        point -= share
        if point < 0:
            return value
    return weighted[-1][0]


def spoil(records):
    """Puts in the faults: a row that is none and an empty one, values that do not fit, repeated rows, missing values."""
    records[41]["total"] = "see invoice"
    records[87] = "-- page 2 --"
    records[163]["ordered_at"] = "2024-02-31T10:15:00Z"
    records[229] = {}
    records[120] = dict(records[119])
    records[255] = dict(records[12])
    records[17]["customer"]["name"] = "  " + records[17]["customer"]["name"] + " "
    records[66]["unit_price"] = str(records[66]["unit_price"])
    records[30]["payment"] = None
    records[75]["delivery_days"] = "n/a"
    records[142]["customer"]["country"] = ""
    records[198]["delivery_days"] = None
    records[271].pop("channel")


if __name__ == "__main__":
    main()
