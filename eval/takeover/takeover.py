"""The catalog that rules fails: does it, watches who rules, and tells how long each step took.

    takeover.py strike killed|stopped PID…      kills or stops the processes; prints when that was done
    takeover.py strike cut SWITCH PORT          unplugs the port
    takeover.py strike no-database|no-front-ends NAMESPACE=ADDRESS NAMESPACE=ADDRESS…
                                                loses all that the first host and the others send each
                                                other, which then go on with a wrong hardware address
    takeover.py watch FILE NAME=HOST:PORT…      writes to FILE when each catalog begins and ends to
                                                rule, until SIGTERM
    takeover.py table RESULTS INITIAL_STOCK     prints the table; exit status 1 if the judge of
                                                eval/hosts finds something wrong

All times are seconds since the machine was booted, as in /proc/uptime.
"""

import http.client
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))
import judge  # noqa: E402

LOOK_SECONDS = 0.005  # between two looks at a catalog: what a time is exact to
ANSWER_SECONDS = 0.25  # one that takes longer has stopped
KINDS = {
    "killed": "killed",
    "stopped": "stopped",
    "cut": "cut off from all",
    "no-database": "cut off from the database",
    "no-front-ends": "cut off from the front-ends",
}
NO_HOST = "02:00:00:00:00:01"  # a hardware address that no host has
RULER_GOAL, PURCHASE_GOAL = 1.5, 2.5  # seconds


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def strike(kind: str, *targets: str) -> None:
    if kind in ("killed", "stopped"):
        for pid in targets:
            os.kill(int(pid), signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
    elif kind == "cut":
        switch, port = targets
        ip("-n", switch, "link", "set", port, "down")
    else:
        (host, address), *others = [target.split("=") for target in targets]
        for other, other_address in others:
            lose(host, other_address)
            lose(other, address)
    print(f"{now():.4f}")


def lose(namespace: str, address: str) -> None:
    """Has what a host sends to an address reach no host, without an error there."""
    ip("-n", namespace, "neighbour", "replace", address, "lladdr", NO_HOST, "nud", "permanent",
       "dev", "net")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def watch(path: str, *catalogs: str) -> None:
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    lock = threading.Lock()
    with open(path, "w", encoding="utf-8") as file:

        def note(line: dict) -> None:
            with lock:
                print(json.dumps(line), file=file, flush=True)

        threads = [threading.Thread(target=look, args=(*catalog.split("="), note, ending))
                   for catalog in catalogs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def look(name: str, address: str, note, ending: threading.Event) -> None:
    before, link = None, None
    while not ending.wait(LOOK_SECONDS):
        try:
            if link is None:
                link = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
            link.request("GET", "/readyz")
            answer = link.getresponse()
            database = json.loads(answer.read()).get("data", {}).get("database", {})
            state = (database.get("duty"), database.get("term"))
        except (OSError, http.client.HTTPException, ValueError):
            state = (None, None)
            if link is not None:
                link.close()
            link = None
        if state != before:
            note({"catalog": name, "duty": state[0], "term": state[1], "time": now()})
            before = state


def times(fault: dict, rulers: list, orders: list) -> dict:
    """How long after the fault another catalog ruled, and a purchase that was sent then was answered;
    and the longest that any purchase waited."""
    at = fault["at"]
    ruled = [line["time"] for line in rulers if line["duty"] == "active"
             and line["catalog"] != fault["hosts"] and line["time"] >= at]
    bought = [order["to"] for order in orders if order["from"] >= at and order["status"] == 200]
    waited = [order["to"] - order["from"] for order in orders
              if order["to"] >= at and order["from"] <= fault["to"]]
    return {"ruler": min(ruled) - at, "purchase": min(bought) - at, "wait": max(waited)}


def table(folder: str, initial: str) -> None:
    results = pathlib.Path(folder)
    history, faults, databases, stock = judge.read(results)
    rulers = [json.loads(line) for line in (results / "rulers.jsonl").read_text().splitlines()]
    orders = [line for line in history if line["kind"] == "order"]
    print("# The catalog that rules fails\n\nWritten by `eval/takeover/run.sh` from the files beside "
          "it; the machine is in `machine.json`. Seconds from\nthe fault: median, and in brackets the "
          "least and the most. No request failed in the end.\n")
    print(f"| the catalog is | rounds | another one rules | within {RULER_GOAL} s | the next purchase "
          f"is answered | within {PURCHASE_GOAL} s | longest purchase |\n|---|---|---|---|---|---|---|")
    for kind, label in KINDS.items():
        rounds = [times(fault, rulers, orders) for fault in faults if fault["name"] == kind]
        ruler, purchase, wait = ([one[key] for one in rounds] for key in ("ruler", "purchase", "wait"))
        print(f"| {label} | {len(rounds)} | {spread(ruler)} | {within(ruler, RULER_GOAL)} "
              f"| {spread(purchase)} | {within(purchase, PURCHASE_GOAL)} | {max(wait):.2f} |")
    attempts = sum(len(line["failed"]) for line in history)
    print(f"\n{len(history)} requests, {len(orders)} of them purchases; {attempts} attempts had to be "
          f"made again. The databases of {', '.join(databases)}\nhave the same "
          f"{len(databases['journal'])} orders.")
    wrong = judge.judge(history, faults, databases, stock, int(initial))
    for sentence in wrong[:20]:
        print(f"takeover.py: {sentence}", file=sys.stderr)
    if wrong or not orders or len(databases) < 4:
        sys.exit(f"takeover.py: {len(wrong)} findings, {len(databases)} databases")


def spread(seconds: list) -> str:
    return f"{statistics.median(seconds):.2f} [{min(seconds):.2f}, {max(seconds):.2f}]"


def within(seconds: list, goal: float) -> str:
    return f"{sum(second <= goal for second in seconds)} of {len(seconds)}"


if __name__ == "__main__":
    commands = {"strike": strike, "watch": watch, "table": table}
    if len(sys.argv) < 4 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
