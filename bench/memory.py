"""The works about memory: of a proxy at rest, and of a client connection that does nothing."""

import json
import select
import shutil
import subprocess
import sys
import time

from common import HERE, BenchError, descriptors, pin
from report import Figure, Ratio
from servers import RIVALS, Setting
from stage import CURRENT

SETTLE = 3  # seconds from the last connection's exchange to the look
PATIENCE = 120


class Rest:
    """A proxy that has answered its first requests."""

    main = False
    most_rounds = 3
    figures = [
        Figure("memory", "MB", 1, spread=True),
        Figure("anonymous", "of that heap and stacks", 1),
        Figure("rss", "RSS", 1),
    ]
    ratios = [Ratio("to the least", "memory", {"wharf": RIVALS})]

    def __init__(self, name, what):
        self.name, self.what = name, what

    def peers(self, options):
        more = ["caddy"] if shutil.which("caddy") and "caddy" not in options.peers else []
        return options.peers + more

    def prepare(self, stage, name):
        pass

    def sample(self, stage, name):
        with stage.fresh(name, CURRENT) as peer:
            time.sleep(1)
            found = {"memory": peer.memory(), "anonymous": peer.anonymous(), "rss": peer.resident()}
            return {key: value / 1024 for key, value in found.items()}


class Idle:
    """Growth of a fresh proxy by connections that each had one exchange."""

    main = False
    most_rounds = 3

    def __init__(self, name, what, kind):
        self.name, self.what, self.kind = name, what, kind
        # Limits are not always ours to raise: a tunnel is two descriptors of the proxy, and Wharf keeps half of its
        # descriptors for upstreams anyway.
        most = descriptors() // 2 - (250 if kind == "ws" else 0)
        self.counts = [min(count, most) for count in (5_000, 10_000)]
        self.figures = [Figure(f"at{i}", f"KiB each at {count:,}", 2, spread=True) for i, count in enumerate(self.counts)]
        self.figures.append(Figure("rest", "MB before", 1))
        self.ratios = [Ratio("the latter to the best", "at1", {"wharf": RIVALS})]
        self.setting = Setting(origin="echo" if kind == "ws" else "files", connections=25_000)

    def peers(self, options):
        # The relay has an upstream connection for each of the client's, which is another thing.
        return [name for name in options.peers if name != "relay"]

    def prepare(self, stage, name):
        pass

    def sample(self, stage, name):
        counts = [count // 50 for count in self.counts] if stage.options.quick else self.counts
        with stage.fresh(name, self.setting) as peer:
            time.sleep(1)
            rest = peer.memory()
            port = peer.tls if self.kind == "tls" else peer.plain
            client = subprocess.Popen(
                [sys.executable, str(HERE / "idle.py"), str(port), self.kind, *map(str, counts)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=peer.log,
                preexec_fn=pin(peer.load_core),
            )
            try:
                found = {"rest": rest / 1024}
                for i, count in enumerate(counts):
                    said(client, peer)
                    time.sleep(SETTLE)
                    found[f"at{i}"] = (peer.memory() - rest) / count
                    client.stdin.write(b"\n")
                    client.stdin.flush()
                lost = said(client, peer)["lost"]
                if lost:
                    raise BenchError(f"{self.name} through {peer.name}: {lost} of {counts[-1]} connections were lost")
                return found
            finally:
                client.kill()
                client.communicate()


def said(client, peer):
    """The client's next line."""
    ready, _, _ = select.select([client.stdout], [], [], PATIENCE)
    line = client.stdout.readline() if ready else b""
    if not line:
        raise BenchError(f"connections through {peer.name} could not be opened\n{peer.last_words()}")
    return json.loads(line)
