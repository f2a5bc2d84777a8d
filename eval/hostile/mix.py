#!/usr/bin/env python3
"""Hostile clients of every kind at once, for a time. Only for a store of one's own on this machine.

    mix.py ADDRESS SECONDS CONNECTIONS OUT

ADDRESS is that of all roles, on the ports of roles.toml. CONNECTIONS are shared out to the kinds
below, which come from eight hosts, 127.66.0.1 to 127.66.0.8. What they saw is written to OUT, as
CSV: for each kind the connections that it made, those that were refused, and the answers by status.

Python's standard library is enough for it.
"""

import asyncio
import csv
import random
import resource
import sys
import time
from collections import Counter

FRONTEND = 8080
INSIDE = [8080, 8081, 8091, 8092, 8093]
HOSTS = 8
# How long a kind waits before it connects again, and between two steps, in seconds.
PAUSE = 0.5
# Longer than any deadline of the store.
PATIENCE = 100

GET = b"GET /products/Tux HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIST = b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n"
ORDER = b'{"name":"Tux","quantity":1}'


def post(path, body=ORDER, headers=(), length=None):
    """A request with a body."""
    length = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Kind:
    """One kind of client: what it does on a connection, and the outcome."""

    share = 1
    ports = [FRONTEND]

    def __init__(self):
        self.seen = Counter()

    async def attack(self, reader, writer):
        """Uses one connection until it ends."""
        raise NotImplementedError

    async def status(self, reader):
        """Reads one answer; its status, or None at the end of the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        status = head[9:12].decode("latin-1")
        self.seen[status] += 1
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.split(b":")[1]))
        return status

    async def until_closed(self, reader):
        """Reads to the end of the connection, and counts the answers."""
        while True:
            await self.status(reader)


class SlowHeads(Kind):
    """A letter of a head every half second."""

    share = 4

    async def attack(self, reader, writer):
        head = b"GET /products/Tux HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 1_000
        for letter in head:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(PAUSE)


class SlowBodies(Kind):
    """A body that does not end: chunked or announced, at paths that read it and at others."""

    share = 4

    async def attack(self, reader, writer):
        path = random.choice(["/orders", "/nothing", "/products", "/internal/invalidate"])
        if random.random() < 0.5:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode() + b"1\r\n{\r\n")
        else:
            writer.write(post(path, b"{", length=16_000))
        await self.until_closed(reader)


class Unread(Kind):
    """Pipelined requests whose answers it does not read."""

    share = 3

    async def attack(self, reader, writer):
        writer.transport.pause_reading()
        while True:
            writer.write((LIST + GET) * 20)
            await writer.drain()
            await asyncio.sleep(PAUSE)


class Renewed(Kind):
    """A connection that rests, and is used just before the store would close it."""

    share = 6

    async def attack(self, reader, writer):
        while True:
            writer.write(GET)
            await self.status(reader)
            await asyncio.sleep(random.choice([0.9, 4, 60]))


class Silent(Kind):
    """A connection on which nothing is sent."""

    share = 2

    async def attack(self, reader, writer):
        await self.until_closed(reader)


class Malformed(Kind):
    """What is not HTTP, or not quite."""

    async def attack(self, reader, writer):
        writer.write(
            random.choice(
                [
                    bytes(random.randrange(256) for _ in range(300)),
                    b"GET / HTTP/1.1\r\n\r\n",
                    b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
                    post("/orders", headers=["Content-Length: 5"]),
                    post("/orders", b"[" * 16_000),
                    post("/orders", b'{"name":"Tux","quantity":1e999}'),
                    b"POST /orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    post("/orders", b"{}", length=10**18),
                ]
            )
        )
        await self.until_closed(reader)


class OtherSites(Kind):
    """Purchases that a web page of another site makes its visitors send."""

    async def attack(self, reader, writer):
        while True:
            header = random.choice(["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"])
            writer.write(post("/orders", headers=[header, "Content-Type: text/plain"]))
            status = await self.status(reader)
            if status == "200":
                self.seen["sold"] += 1
            await asyncio.sleep(PAUSE)


class Outsiders(Kind):
    """Calls between roles without the secret, at every role."""

    share = 3
    ports = INSIDE

    async def attack(self, reader, writer):
        while True:
            name = random.choice(["commit", "append", "invalidate", "leader", "status", "nothing"])
            body = b'{"epoch":18446744073709551615,"leader":1}'
            headers = ["Authorization: Bearer " + "x" * random.randrange(40)]
            writer.write(post(f"/internal/{name}", body, [*headers, "Content-Type: application/json"]))
            await self.status(reader)
            await asyncio.sleep(PAUSE)


async def run(kind, address, number, deadline):
    """One connection of a kind after the other."""
    host = f"127.66.0.{number % HOSTS + 1}"
    await asyncio.sleep(random.random() * PAUSE * 4)
    while time.monotonic() < deadline:
        writer = None
        try:
            port = random.choice(kind.ports)
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(address, port, local_addr=(host, 0), limit=1 << 16), PATIENCE
            )
            kind.seen["connections"] += 1
            left = deadline - time.monotonic()
            await asyncio.wait_for(kind.attack(reader, writer), min(PATIENCE, max(left, 0.1)))
        except TimeoutError:
            kind.seen["kept to the end" if time.monotonic() >= deadline else "held for 100 s"] += 1
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            kind.seen["closed" if writer else f"not connected: {type(error).__name__}"] += 1
        finally:
            if writer:
                writer.transport.abort()
        await asyncio.sleep(PAUSE)


async def main(address, seconds, connections, out):
    kinds = [kind() for kind in Kind.__subclasses__()]
    shares = sum(kind.share for kind in kinds)
    deadline = time.monotonic() + seconds
    tasks = []
    for kind in kinds:
        for _ in range(max(1, connections * kind.share // shares)):
            tasks.append(run(kind, address, len(tasks), deadline))
    await asyncio.gather(*tasks)
    with open(out, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["kind", "seen", "count"])
        for kind in kinds:
            for seen, count in sorted(kind.seen.items()):
                rows.writerow([type(kind).__name__, seen, count])


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < int(sys.argv[3]) + 100:
        sys.exit(f"mix.py: ulimit -n is {most}; {sys.argv[3]} connections need 100 more than that")
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
