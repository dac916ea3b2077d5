"""Very many connections, and connections that never come to the point."""

import asyncio
import resource
import socket
import threading
import time

from wire import connect, request

SOURCES = [f"127.0.0.{number}" for number in range(1, 6)]

STARTS = [
    b"",
    b"G",
    b"GET /v1/stor",
    b"GET /healthz HTTP/1.1\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a",
    b"POST /v1/stories HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
]


def raise_file_limit(wanted):
    """As many files as the system lets us open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


class HalfOpen:
    """Connections that begin a request and do not end it: opened at the start, looked at in the end."""

    LONGEST = 75

    def __init__(self, target, count=120):
        self.target, self.began, self.kinds = target, time.monotonic(), {}
        for number in range(count):
            start = STARTS[number % len(STARTS)]
            connection = connect(target, SOURCES[number % len(SOURCES)])
            connection.sendall(start)
            self.kinds.setdefault(start, []).append(connection)

    def end(self, report):
        time.sleep(max(0.0, self.LONGEST - (time.monotonic() - self.began)))
        for start, connections in self.kinds.items():
            open_ = sum(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 for connection in connections)
            shown = start[-24:].decode().replace("\r\n", "⏎") or "nothing"
            report.note("half-open", f"{len(connections)} that stopped after {shown!r} are ended within {self.LONGEST} s", 0, open_, open_ == 0)
            for connection in connections:
                connection.close()


async def _hold(target, count, held, stop):
    """Open so many connections, a hundred at a time, and keep them."""

    async def one(number):
        try:
            source = SOURCES[number % len(SOURCES)]
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(target.host, target.port, local_addr=(source, 0)), 5)
            writer.write(STARTS[number % 4])
            held.append(writer)
        except (OSError, TimeoutError):
            pass

    for first in range(0, count, 100):
        if stop.is_set():
            break
        await asyncio.gather(*(one(number) for number in range(first, min(first + 100, count))))
    await asyncio.get_running_loop().run_in_executor(None, stop.wait)
    for writer in held:
        writer.transport.abort()


def crowd(target, report, memory, count=10_000):
    """So many connections at once: who has something to say is still heard."""
    area = "a crowd"
    limit = raise_file_limit(count + 1_000)
    held, stop = [], threading.Event()
    before, start = memory.now(), time.monotonic()
    holder = threading.Thread(target=lambda: asyncio.run(_hold(target, min(count, limit - 500), held, stop)), name="crowd")
    holder.start()
    slowest, unheard, asked, ready = 0.0, 0, 0, 0.0
    try:
        # Until they are all there, and 20 s more.
        until = None
        while until is None or time.monotonic() < until:
            if until is None and (count - 500 <= len(held) or 60 < time.monotonic() - start):
                ready, until = time.monotonic() - start, time.monotonic() + 20
            answer = request(target, "GET", "/healthz", timeout=10)
            asked += 1
            unheard += answer.status != 200
            slowest = max(slowest, answer.took)
            time.sleep(0.25)
        grown = memory.now() - before
    finally:
        stop.set()
        holder.join()
    report.note(area, f"of {count} connections are open at once", f"{count * 95 // 100} or more", len(held), count * 95 // 100 <= len(held))
    report.note(area, f"{asked} who ask meanwhile are answered", 0, f"{unheard} were not", unheard == 0)
    report.note(area, "the slowest answer, s", "2 or less", f"{slowest:.2f}", slowest <= 2)
    report.note(area, "memory they take, MiB", "300 or less", grown, grown <= 300)
    return f"{len(held)} open after {ready:.1f} s, {grown} MiB"
