"""What bench/run measures. A work names its peers, takes a sample of one of them and says which figures to show."""

import http.client
import os
import signal
import time

from common import BenchError
from loads import UPLOAD, h2load, handshakes, tunnels, wrk
from memory import Idle, Rest
from report import Figure, Ratio
from servers import PLAIN_ONLY, RIVALS, Setting
from stage import CURRENT
from startup import Start


class Load:
    """One kind of load. `per` is what the CPU time is divided by: a request, a message, or a GB of bodies."""

    main = True
    most_rounds = None
    ratios = [Ratio("Wharf's cost to the best", "cost", {"wharf": RIVALS}, others=True)]

    def __init__(self, name, what, load, per="request", tls=False, setting=CURRENT):
        self.name, self.what, self.load, self.per, self.tls, self.setting = name, what, load, per, tls, setting
        large = per == "GB"
        self.figures = [
            Figure("cost", "CPU s/GB" if large else f"CPU us/{per}", 2 if large else 1, spread=True),
            Figure("rate", "MB/s" if large else f"{per}s/s"),
            Figure("p99", "p99 ms", 2),
            Figure("busy", "busy %"),
            Figure("memory", "MB"),
        ]

    def peers(self, options):
        return [name for name in options.peers if not (self.tls and name in PLAIN_ONLY)]

    def prepare(self, stage, name):
        stage.peer(name, self.setting)

    def sample(self, stage, name):
        return self.measure(stage.peer(name, self.setting), stage.options.seconds)

    def measure(self, peer, seconds):
        cpu, started = peer.cpu(), time.monotonic()
        found = self.load(peer, seconds)
        cpu, elapsed = peer.cpu() - cpu, time.monotonic() - started
        if found["requests"] == 0 or found["failed"]:
            raise BenchError(f"{self.name} through {peer.name}: {found['requests']} requests, {found['failed']} failed")
        amount = found["gigabytes"] if self.per == "GB" else found["requests"]
        return {
            "cost": cpu / amount if self.per == "GB" else cpu / amount * 1e6,
            "rate": amount * 1000 / elapsed if self.per == "GB" else amount / elapsed,
            "busy": cpu / elapsed * 100,
            "p99": found["p99"] * 1000,
            "memory": peer.memory() / 1024,
        }


class Beside(Load):
    """Small requests through variants of a proxy; `pairs` says whom each is compared with."""

    main = False

    def __init__(self, name, what, variants, load=wrk(64, "/small"), setting=CURRENT):
        super().__init__(name, what, load, setting=setting)
        self.variants = variants
        self.ratios = [Ratio("CPU", "cost", variants), Ratio("p99", "p99", variants)]

    def peers(self, options):
        """Those whose kind takes part in the run."""
        names = dict.fromkeys([*(name for names in self.variants.values() for name in names), *self.variants])
        return [name for name in names if name.partition("-")[0] in options.peers]


class Swap(Beside):
    """The table changes all the time meanwhile: Wharf is told every 10 ms that the engine's list is another."""

    def __init__(self, *words):
        super().__init__(*words)
        self.figures = self.figures[:3] + [Figure("swaps", "swaps/s", 1)]

    def measure(self, peer, seconds):
        if peer.name != "wharf-swap":
            return super().measure(peer, seconds)
        engine = peer.processes[0]
        engine.send_signal(signal.SIGUSR1)
        try:
            time.sleep(PAUSE)
            # Every list shows another host than the one before, so every list is followed by a new table.
            lists, started = metric(peer, "wharf_docker_lists_total"), time.monotonic()
            found = super().measure(peer, seconds)
            lists = metric(peer, "wharf_docker_lists_total") - lists
            return found | {"swaps": lists / (time.monotonic() - started)}
        finally:
            engine.send_signal(signal.SIGUSR2)
            time.sleep(PAUSE)  # Wharf looks again for a while; not during another's turn.


class Log(Beside):
    """A line for each request, into a file that is cut between the rounds."""

    def __init__(self, *words):
        super().__init__(*words)
        self.figures = self.figures[:4] + [Figure("written", "MB written"), Figure("lost", "lines lost")]

    def measure(self, peer, seconds):
        if peer.name != "wharf-log":
            return super().measure(peer, seconds)
        os.truncate(peer.log.name, 0)
        lost = metric(peer, "wharf_access_lines_dropped_total")
        found = super().measure(peer, seconds)
        time.sleep(PAUSE)
        written = os.path.getsize(peer.log.name)
        if not written:
            raise BenchError("Wharf wrote no access log")
        os.truncate(peer.log.name, 0)
        return found | {"written": written / 1e6, "lost": metric(peer, "wharf_access_lines_dropped_total") - lost}


class Compress(Beside):
    """A hundred kilobytes of JSON, compressed by each as it can."""

    def __init__(self, *words):
        pairs = {f"wharf-{coding}": ("nginx-gzip", "haproxy-gzip") for coding in ("gzip", "zstd", "br")}
        load = wrk(16, "/api.json", fields=["Accept-Encoding: gzip, zstd, br"])
        super().__init__(*words, pairs, load=load)
        self.ratios = [Ratio("CPU to nginx", "cost", {name: ("nginx-gzip",) for name in pairs})]
        self.figures = self.figures[:3] + [Figure("size", "bytes/answer")]
        self.inner = self.load
        self.load = self.sized

    def sized(self, peer, seconds):
        self.found = self.inner(peer, seconds)
        return self.found

    def measure(self, peer, seconds):
        measured = super().measure(peer, seconds)
        return measured | {"size": self.found["bytes"] / self.found["requests"]}


class Two(Beside):
    """Two workers beside one, on both cores, with origin and load generator on the same two."""

    def __init__(self, *words):
        pairs = {f"{name}-2": (name,) for name in ("wharf", "nginx", "haproxy")}
        super().__init__(*words, pairs, setting=Setting(pinned=False))
        self.ratios = [
            Ratio("requests/s to one worker", "rate", pairs),
            Ratio("CPU to the best", "cost", {"wharf": RIVALS, "wharf-2": ("nginx-2", "haproxy-2")}),
        ]
        self.figures = self.figures[:4]


class Cache(Beside):
    """Answers that each has in its cache, beside the same answers proxied by Wharf."""

    def __init__(self, name, what, load, per="request"):
        pairs = {"wharf-cache": ("nginx-cache", "haproxy-cache")}
        super().__init__(name, what, pairs, load)
        self.per = per
        if per == "GB":
            self.figures[0] = Figure("cost", "CPU s/GB", 2, spread=True)
            self.figures[1] = Figure("rate", "MB/s")
        self.ratios = [
            Ratio("CPU to the best", "cost", pairs),
            Ratio("CPU to its own proxied", "cost", {"wharf-cache": ("wharf",)}),
            Ratio("rate to the best", "rate", pairs),
        ]

    def peers(self, options):
        names = ["wharf", "wharf-cache", "nginx-cache", "haproxy-cache"]
        return [name for name in names if name.partition("-")[0] in options.peers]

    def prepare(self, stage, name):
        super().prepare(stage, name)
        self.sample(stage, name)  # fills it


class Static(Beside):
    """Files that each sends itself."""

    def __init__(self, name, what, load, per="request"):
        pairs = {"wharf-static": ("nginx-static",)}
        super().__init__(name, what, pairs, load)
        self.per = per
        if per == "GB":
            self.figures[0] = Figure("cost", "CPU s/GB", 2, spread=True)
            self.figures[1] = Figure("rate", "MB/s")
        self.ratios = [Ratio("CPU to nginx", "cost", pairs)]


def metric(peer, name):
    """A counter of Wharf's admin listener."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.admin, timeout=5)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    for line in lines:
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise BenchError(f"Wharf has no metric {name}")


TUNNELS = Setting(origin="echo")
PAUSE = 0.6

WORKS = [
    Load("h1", "HTTP/1.1 small GET, 64 connections", wrk(64, "/small")),
    Load("h1-1", "HTTP/1.1 small GET, 1 connection", wrk(1, "/small")),
    Load("tls", "HTTP/1.1 over TLS 1.3, 64 connections", wrk(64, "/small", tls=True), tls=True),
    Load("h2-4x100", "HTTP/2 over TLS, 4 connections x 100 streams", h2load(4, 100), tls=True),
    Load("h2-64x1", "HTTP/2 over TLS, 64 connections x 1 stream", h2load(64, 1), tls=True),
    Load("down-1m", "1 MB down", wrk(8, "/1m"), "GB"),
    Load("down-1m-tls", "1 MB down, TLS", wrk(8, "/1m", tls=True), "GB", tls=True),
    Load("down-100m", "100 MB down", wrk(2, "/100m"), "GB"),
    Load("down-100m-tls", "100 MB down, TLS", wrk(2, "/100m", tls=True), "GB", tls=True),
    Load("up-10m", "10 MB up", wrk(4, "/up", upload=UPLOAD), "GB"),
    Load("up-10m-tls", "10 MB up, TLS", wrk(4, "/up", tls=True, upload=UPLOAD), "GB", tls=True),
    Load("new-tls", "new TLS connection, full handshake", handshakes("full"), tls=True),
    Load("new-tls-resumed", "new TLS connection, resumed", handshakes("resumed"), tls=True),
    Load("ws-small", "WebSocket, 64 tunnels, 128 B echoed", tunnels(64, 128), "message", setting=TUNNELS),
    Load("ws-bulk", "WebSocket, 4 tunnels, 64 KiB echoed", tunnels(4, 64 << 10), "GB", setting=TUNNELS._replace(large=True)),
    Beside("hosts", "more host names", {"wharf-1k": ("wharf",), "wharf-10k": ("wharf",)}),
    Swap("swap", "a routing table that changes", {"wharf-swap": ("wharf",)}),
    Log("log", "access log on", {"wharf-log": ("wharf",)}),
    Cache("cache-1k", "1 KB out of the cache, 64 connections", wrk(64, "/1k")),
    Cache("cache-1m", "1 MB out of the cache", wrk(8, "/kept"), "GB"),
    Static("static-4k", "a file of 4 KB, 64 connections", wrk(64, "/4k")),
    Static("static-1m", "a file of 1 MB", wrk(8, "/1m"), "GB"),
    Static("static-1m-tls", "a file of 1 MB, TLS", wrk(8, "/1m", tls=True), "GB"),
    Static("static-100m", "a file of 100 MB", wrk(2, "/100m"), "GB"),
    Static("static-100m-tls", "a file of 100 MB, TLS", wrk(2, "/100m", tls=True), "GB"),
    Compress("compress", "100 KB of JSON, compressed, 16 connections"),
    Two("two", "two workers on two cores, shared with origin and load"),
    Rest("rest", "memory at rest"),
    Idle("idle-plain", "an idle connection", "plain"),
    Idle("idle-tls", "an idle TLS connection", "tls"),
    Idle("idle-ws", "an idle WebSocket", "ws"),
    Start("start", "from exec to the first answer, 1,000 routes and certificates"),
]
