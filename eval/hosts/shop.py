"""Clients that shop at several front-ends, and write down what each of them was told, and when.

    shop.py HISTORY CLIENTS SEED TOYS FRONTEND…

TOYS are names, separated by commas; FRONTEND is host:port. SIGTERM ends the shopping: every client
finishes what it does and fetches each of its orders once more. judge.py judges the history.

A client has a front-end of its own, and goes on to the next one when an attempt fails there. It
tries a request again, a purchase under the same key, until GIVE_UP_SECONDS have passed. A line of
the history is a request with its answer and the attempts that failed. Times are the machine's since
it booted, as in /proc/uptime, so that they compare with those of the faults.
"""

import http.client
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.parse
import uuid

# A front-end answers a purchase within 10 s. One that does not answer at all is given up sooner, as
# the other one can go on under the same key.
ATTEMPT_SECONDS = 5
CONNECT_SECONDS = 1
GIVE_UP_SECONDS = 30  # longer than any fault lasts
PAUSE_SECONDS = 0.05  # between two iterations of a client: some 70 a second of four clients
RETRY_SECONDS = 0.05
ORDER_PROBABILITY = 0.5
LOOK_UP_PROBABILITY = 0.2  # of one of the client's own orders
MOST_UNITS = 3


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class History:
    """The lines that all clients write."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()

    def add(self, line: dict) -> None:
        with self.lock:
            print(json.dumps(line), file=self.file, flush=True)


class Client(threading.Thread):
    def __init__(self, number: int, seed: int, toys: list, frontends: list, history: History):
        super().__init__(name=f"client {number}")
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.toys = toys
        self.frontends = frontends
        self.at = number % len(frontends)
        self.connection = None
        self.history = history
        self.orders = []
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.wait(PAUSE_SECONDS):
            toy = self.random.choice(self.toys)
            self.query(toy)
            if self.random.random() < ORDER_PROBABILITY:
                self.order(toy, self.random.randint(1, MOST_UNITS))
            if self.orders and self.random.random() < LOOK_UP_PROBABILITY:
                self.look_up(self.random.choice(self.orders))
        for order in self.orders:
            self.look_up(order)

    def query(self, toy: str) -> None:
        line = self.ask({"kind": "query", "name": toy}, "GET", f"/products/{quote(toy)}")
        line["told"] = line["told"] and line["told"].get("quantity")
        self.history.add(line)

    def order(self, toy: str, units: int) -> None:
        line = {"kind": "order", "name": toy, "quantity": units, "key": str(uuid.UUID(
            int=self.random.getrandbits(128)))}
        body = json.dumps({"name": toy, "quantity": units})
        line = self.ask(line, "POST", "/orders", body)
        line["told"] = line["told"] and line["told"].get("order_number")
        self.history.add(line)
        if line["told"] is not None:
            self.orders.append({"number": line["told"], "name": toy, "quantity": units})

    def look_up(self, order: dict) -> None:
        self.history.add(self.ask({"kind": "look-up", **order}, "GET", f"/orders/{order['number']}"))

    def ask(self, line: dict, method: str, path: str, body: str | None = None) -> dict:
        """The line with `from`, `to`, `status` (null: never answered), `told`, and `failed`."""
        begin = now()
        failed, status, told = [], None, None
        while True:
            since = now()
            frontend = self.frontends[self.at]
            outcome, told = self.attempt(method, path, body, line.get("key"))
            if outcome == 200 or isinstance(outcome, int) and outcome < 500:
                status = outcome
                break
            failed.append({"at": frontend, "from": since, "to": now(), "outcome": outcome})
            if now() - begin > GIVE_UP_SECONDS:
                break
            self.at = (self.at + 1) % len(self.frontends)
            time.sleep(RETRY_SECONDS)
        line |= {"client": self.number, "from": begin, "to": now(), "status": status, "told": told}
        return line | {"failed": failed}

    def attempt(self, method: str, path: str, body: str | None, key: str | None):
        """The status and the answer's data, or why there is none."""
        frontend = self.frontends[self.at]
        if self.connection is None or self.connection[0] != frontend:
            self.close()
            host, port = frontend.rsplit(":", 1)
            link = http.client.HTTPConnection(host, int(port), timeout=CONNECT_SECONDS)
            try:
                link.connect()
            except OSError as error:
                return f"no connection: {error}", None
            link.sock.settimeout(ATTEMPT_SECONDS)
            self.connection = (frontend, link)
        try:
            link = self.connection[1]
            link.request(method, path, body, {"Idempotency-Key": key} if key else {})
            answer = link.getresponse()
            data = json.loads(answer.read())
            if answer.will_close:
                self.close()
            return answer.status, data.get("data")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return f"no answer: {error!r}", None

    def close(self) -> None:
        if self.connection is not None:
            self.connection[1].close()
        self.connection = None


def quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def main(path: str, clients: str, seed: str, toys: str, *frontends: str) -> None:
    history = History(path)
    shoppers = [
        Client(number, int(seed), toys.split(","), list(frontends), history)
        for number in range(int(clients))
    ]

    def end(*_: object) -> None:
        for shopper in shoppers:
            shopper.ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    for shopper in shoppers:
        shopper.start()
    for shopper in shoppers:
        shopper.join()


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
