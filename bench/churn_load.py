"""The load of bench/churn: requests at fixed times, whatever became of those before, and WebSockets kept open."""

import asyncio
import base64
import os
import time
from collections import Counter

# In turn: an idempotent request on a connection that is used again, one on a new connection, and one with a body that
# nobody may send twice.
KINDS = ("GET, kept", "GET, new", "POST")
# What the app takes for each answer: with none, nothing would be under way when it is told to stop.
WORK_MS = 20
EXPECTED = f"slept {WORK_MS} ms\n".encode()
BODY = b"x" * 2048
PATIENCE = 30  # seconds a client waits for an answer
SILENCE = 10  # seconds without an echo until a WebSocket counts as dropped


class Failure(Exception):
    """Why a request counts as failed: a status or what the connection did."""


class Load:
    """Requests from `start` to `stop`, `rate` a second; `result` waits for the last of them."""

    def __init__(self, address, host, rate):
        self.address, self.rate = address, rate
        head = f"Host: {host}\r\nUser-Agent: bench-churn\r\n"
        path = f"/sleep/{WORK_MS}"
        self.get = f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        self.get_once = f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
        post = f"POST {path} HTTP/1.1\r\n{head}Connection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
        self.post = post.encode() + BODY
        self.idle, self.requests = [], set()
        self.sent, self.resent, self.late = Counter(), 0, 0.0
        self.failed = {kind: Counter() for kind in KINDS}
        self.took, self.log = [], []

    def start(self):
        self.began = time.monotonic()
        self.pacer = asyncio.create_task(self.pace())

    async def stop(self):
        self.pacer.cancel()
        await asyncio.gather(self.pacer, return_exceptions=True)
        await asyncio.gather(*self.requests)
        for _, writer in self.idle:
            writer.close()

    async def pace(self):
        number = 0
        while True:
            due = self.began + number / self.rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.late = max(self.late, time.monotonic() - due)
            task = asyncio.create_task(self.one(KINDS[number % len(KINDS)], due))
            self.requests.add(task)
            task.add_done_callback(self.requests.discard)
            number += 1

    async def one(self, kind, due):
        self.sent[kind] += 1
        ask = {KINDS[0]: self.kept, KINDS[1]: lambda: self.once(self.get_once), KINDS[2]: lambda: self.once(self.post)}
        try:
            async with asyncio.timeout(PATIENCE):
                await ask[kind]()
            self.took.append(time.monotonic() - due)
        except TimeoutError:
            self.fail(kind, due, "no answer")
        except Failure as failure:
            self.fail(kind, due, str(failure))

    def fail(self, kind, due, why):
        self.failed[kind][why] += 1
        self.log.append((round(due - self.began, 3), round(time.monotonic() - due, 3), kind, why))

    async def kept(self):
        """On an idle connection if there is one. If the proxy has closed that in the meantime, which it may at any
        time, any client asks again on a new one (RFC 9112 section 9.3.1)."""
        while self.idle:
            reader, writer = self.idle.pop()
            if reader.at_eof() or writer.is_closing():
                writer.close()
                continue
            try:
                return await self.exchange(reader, writer, self.get, keep=True)
            except Failure as failure:
                if failure.args[0] not in ("closed", "reset"):
                    raise
            self.resent += 1
            break
        await self.exchange(*await self.connect(), self.get, keep=True)

    async def once(self, request):
        await self.exchange(*await self.connect(), request)

    async def connect(self):
        try:
            return await asyncio.open_connection(*self.address)
        except OSError as error:
            raise Failure("refused" if isinstance(error, ConnectionRefusedError) else f"connect: {error}") from error

    async def exchange(self, reader, writer, request, keep=False):
        done, begun = False, False
        try:
            writer.write(request)
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise Failure("cut" if line else "closed")
            begun = True
            status, fields, body = await message(reader, line)
            if status != 200:
                raise Failure(str(status))
            if body != EXPECTED:
                raise Failure("200, but not of the app")
            done = True
        except asyncio.IncompleteReadError as error:
            raise Failure("cut") from error
        except OSError as error:
            raise Failure("cut" if begun else "reset") from error
        finally:
            if done and keep and fields.get("connection", "").lower() != "close":
                self.idle.append((reader, writer))
            else:
                writer.close()

    def result(self):
        took = sorted(self.took)
        return {
            "sent": dict(self.sent),
            "failed": {kind: dict(errors) for kind, errors in self.failed.items()},
            "log": self.log,
            "resent by the client": self.resent,
            "ms": {name: round(quantile(took, share) * 1000, 1) for name, share in QUANTILES},
            "load late by at most ms": round(self.late * 1000, 1),
        }


async def message(reader, line):
    """The rest of a response after its first line: status, fields, body."""
    status, fields = int(line.split()[1]), {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n"):
        if not line:
            raise Failure("cut")
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    if "content-length" in fields:
        return status, fields, await reader.readexactly(int(fields["content-length"]))
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline() or b"!", 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return status, fields, body
    return status, fields | {"connection": "close"}, await reader.read()


class WebSockets:
    """Open connections which have a message echoed every second."""

    def __init__(self, address, host, count):
        self.address, self.host, self.count = address, host, count
        self.dropped = Counter()

    async def start(self):
        sockets = [await self.open() for _ in range(self.count)]
        self.tasks = [asyncio.create_task(self.keep(number, *socket)) for number, socket in enumerate(sockets)]

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def open(self):
        reader, writer = await asyncio.open_connection(*self.address)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {self.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        if head.split()[1] != b"101":
            raise Failure(f"a WebSocket was answered {head.split()[1].decode()}")
        return reader, writer

    async def keep(self, number, reader, writer):
        # Not all in the same moment.
        await asyncio.sleep(number / self.count)
        text = f"message of {number}".encode()
        try:
            while True:
                # A masked text frame; a mask of zeros leaves the text as it is.
                writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
                async with asyncio.timeout(SILENCE):
                    echo = await reader.readexactly(2 + len(text))
                if echo != bytes([0x81, len(text)]) + text:
                    raise Failure("a close" if echo[0] == 0x88 else "another message")
                await asyncio.sleep(1)
        except (OSError, EOFError, Failure) as error:
            self.dropped[str(error) if isinstance(error, Failure) else type(error).__name__] += 1
        finally:
            writer.close()

    def result(self):
        return {"open": self.count, "dropped": self.dropped.total(), "why": dict(self.dropped)}


def quantile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)] if values else float("nan")


QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1))
