"""Judges what clients were told while hosts died, were cut off and came back.

    judge.py RESULTS INITIAL_STOCK      prints a table in Markdown; exit status 1 if something is wrong

RESULTS is a folder that run.sh fills: `history.jsonl` (shop.py), `faults.jsonl`, and for each
database `NAME.orders` with lines `number|name|quantity`, one of which is the journal, and `stock`
with lines `name|quantity`. What is wrong goes to standard error.

- No request of a client fails in the end, and none is refused: there is stock for all.
- An attempt fails only at a front-end whose host is out, or while the store cannot sell: with 503, or
  because the client gave up before the front-end did, which waits for longer.
- No query shows an older stock than a purchase that was answered, or a query, before it began.
- Orders that were answered are in every database, unchanged, under numbers that grow in the order
  of time; databases are equal and without a gap; there is one order for each key.
"""

import json
import pathlib
import sys
from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate


def judge(history: list, faults: list, databases: dict, stock: dict, initial: int) -> list:
    """What is wrong, a sentence each."""
    return [
        *failures(history),
        *unexplained(history, faults),
        *stale(history, initial),
        *numbers(history),
        *differences(databases),
        *lost(history, databases),
        *sums(databases, stock, initial),
    ]


def failures(history: list):
    for line in history:
        if line["status"] is None:
            yield f"{said(line)} was never answered: {line['failed'][-1:]}"
        elif line["status"] != 200:
            yield f"{said(line)} was answered {line['status']}"
        elif line["kind"] == "look-up":
            order = {key: line[key] for key in ("number", "name", "quantity")}
            if line["told"] != order:
                yield f"{said(line)} was answered {line['told']}"
        elif line["told"] is None:
            yield f"{said(line)} was answered without what was asked for"


def unexplained(history: list, faults: list):
    for line in history:
        for attempt in line["failed"]:
            if not any(explains(fault, attempt) for fault in faults):
                yield f"{said(line)}: an attempt failed though none should: {attempt}"


def explains(fault: dict, attempt: dict) -> bool:
    if attempt["to"] < fault["from"] or fault["to"] < attempt["from"]:
        return False
    is_out = attempt["at"] in fault["frontends"]
    waited = attempt["outcome"] == 503 or "TimeoutError" in str(attempt["outcome"])
    return is_out or fault["unavailable"] and waited


def stale(history: list, initial: int):
    toys = defaultdict(list)
    for line in history:
        if line["kind"] != "look-up":
            toys[line["name"]].append(line)
    for lines in toys.values():
        orders = [line for line in lines if line["kind"] == "order"]
        queries = [line for line in lines if line["kind"] == "query" and line["told"] is not None]
        ended = Sums((order["to"], order["quantity"]) for order in orders if order["status"] == 200)
        begun = Sums((order["from"], order["quantity"]) for order in orders)
        # The least that a query had shown when each of them had ended.
        shown = sorted((query["to"], query["told"]) for query in queries)
        least = list(accumulate((told for _, told in shown), min))
        for query in queries:
            most = initial - ended.before(query["from"])
            earlier = bisect_left(shown, (query["from"],))
            if earlier:
                most = min(most, least[earlier - 1])
            if query["told"] > most:
                yield f"{said(query)} was told {query['told']} when at most {most} were left"
            if query["told"] < initial - begun.before(query["to"]):
                yield f"{said(query)} was told {query['told']}, less than can have been bought"


class Sums:
    """What was added before a time."""

    def __init__(self, pairs) -> None:
        pairs = sorted(pairs)
        self.times = [time for time, _ in pairs]
        self.sums = [0, *accumulate(amount for _, amount in pairs)]

    def before(self, time: float) -> int:
        return self.sums[bisect_left(self.times, time)]


def numbers(history: list):
    """An order that begins when another was answered has a higher number."""
    orders = [line for line in history if line["kind"] == "order" and line["status"] == 200]
    orders = [order for order in orders if order["told"] is not None]
    ended = sorted((order["to"], order["told"]) for order in orders)
    highest = list(accumulate((number for _, number in ended), max))
    for order in orders:
        earlier = bisect_left(ended, (order["from"],))
        if earlier and highest[earlier - 1] >= order["told"]:
            yield f"{said(order)} has number {order['told']}, lower than one that was given before"


def differences(databases: dict):
    first, *others = databases
    for other in others:
        if databases[other] != databases[first]:
            yield f"{other} has other orders than {first}"
    for name, orders in databases.items():
        if [order[0] for order in orders] != list(range(len(orders))):
            yield f"{name}: there is a gap or a repeat in the numbers"


def lost(history: list, databases: dict):
    answered, unanswered, given = 0, 0, {}
    for line in history:
        if line["kind"] != "order":
            continue
        if line["status"] != 200:
            unanswered += 1
            continue
        answered += 1
        if line["told"] in given:
            yield f"{said(line)} has number {line['told']}, which another order has"
        given[line["told"]] = (line["told"], line["name"], line["quantity"])
    for name, orders in databases.items():
        missing = set(given.values()) - set(orders)
        for order in sorted(missing)[:5]:
            yield f"{name} lacks order {order}, which was answered; {len(missing)} in all"
        if not answered <= len(orders) <= answered + unanswered:
            yield f"{name} has {len(orders)} orders, but {answered} purchases were answered"


def sums(databases: dict, stock: dict, initial: int):
    sold = defaultdict(int)
    for _, name, quantity in databases["journal"]:
        sold[name] += quantity
    for name, quantity in stock.items():
        if quantity != initial - sold[name]:
            yield f"{quantity} {name} are left, though {sold[name]} of {initial} were sold"


def said(line: dict) -> str:
    what = {"query": "name", "order": "name", "look-up": "number"}[line["kind"]]
    return f"client {line['client']} at {line['from']:.3f} s: {line['kind']} of {line[what]}"


def table(history: list, faults: list) -> str:
    """A row for each kind of fault; a request counts for the last fault that began before it ended."""
    rows = {}
    begins = [fault["from"] for fault in faults]
    for fault in faults:
        row = rows.setdefault(fault["name"], {"times": 0, "seconds": [], "order": [], "query": [],
                                              "failed": 0, "refused": 0})
        row["times"] += 1
        row["seconds"].append(fault["to"] - fault["from"])
    for line in history:
        place = bisect_left(begins, line["to"])
        if place == 0 or line["kind"] == "look-up":
            continue
        row = rows[faults[place - 1]["name"]]
        row[line["kind"]].append(line["to"] - line["from"])
        row["refused"] += sum(attempt["outcome"] == 503 for attempt in line["failed"])
        row["failed"] += sum(attempt["outcome"] != 503 for attempt in line["failed"])
    head = ("| fault | times | out, s | requests | longest query, s | longest order, s "
            "| attempts without an answer | answered 503 |\n|---|---|---|---|---|---|---|---|\n")
    return head + "".join(
        f"| {name} | {row['times']} | {max(row['seconds']):.1f} "
        f"| {len(row['query']) + len(row['order'])} | {max(row['query'], default=0):.2f} "
        f"| {max(row['order'], default=0):.2f} | {row['failed']} | {row['refused']} |\n"
        for name, row in rows.items())


def read(folder: pathlib.Path):
    lines = [[json.loads(line) for line in (folder / name).read_text().splitlines()]
             for name in ("history.jsonl", "faults.jsonl")]
    databases = {}
    for path in sorted(folder.glob("*.orders")):
        rows = (line.split("|") for line in path.read_text().splitlines())
        databases[path.stem] = [(int(number), name, int(units)) for number, name, units in rows]
    rows = (line.split("|") for line in (folder / "stock").read_text().splitlines())
    return *lines, databases, {name: int(quantity) for name, quantity in rows}


def main(folder: str, initial: str) -> None:
    history, faults, databases, stock = read(pathlib.Path(folder))
    wrong = judge(history, faults, databases, stock, int(initial))
    orders = sum(line["kind"] == "order" for line in history)
    print(table(history, faults))
    print(f"{len(history)} requests, {orders} of them purchases; the databases of "
          f"{', '.join(databases)} have the same {len(databases['journal'])} orders.")
    for sentence in wrong[:20]:
        print(f"judge.py: {sentence}", file=sys.stderr)
    if wrong or orders == 0 or len(databases) < 4:
        sys.exit(f"judge.py: {len(wrong)} findings, {orders} purchases, {len(databases)} databases")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
