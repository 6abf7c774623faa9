"""The load generators of bench/run. Each returns a function of a peer and a number of seconds that gives a dict of
`requests`, `failed`, `p99` in seconds and, where bodies count, `gigabytes`."""

import json
import subprocess
import sys

from common import HERE, BenchError, pin
from servers import compiled

UPLOAD = 10 << 20


def wrk(connections, path, tls=False, upload=0, fields=()):
    def load(peer, seconds):
        url = f"https://localhost:{peer.tls}{path}" if tls else f"http://localhost:{peer.plain}{path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "wrk.lua"), url]
        command += [word for field in fields for word in ("-H", field)]
        found = json.loads(run_bounded(command + ["--", str(upload)], peer, seconds).splitlines()[-1])
        # wrk counts the bytes of bodies still under way at the end, but only those that it reads.
        return found | {"gigabytes": (found["requests"] * upload if upload else found["bytes"]) / 1e9}

    return load


def h2load(connections, streams):
    def load(peer, seconds):
        log = peer.directory / "h2load.tsv"
        log.unlink(missing_ok=True)
        url = f"https://localhost:{peer.tls}/small"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", f"--log-file={log}", url]
        output = run_bounded(command, peer, seconds)
        line = next(line for line in output.splitlines() if line.startswith("requests:"))
        counts = {word: int(count) for count, word in (item.split() for item in line[len("requests:") :].split(","))}
        if "Application protocol: h2" not in output:
            raise BenchError(f"{peer.name} did not speak HTTP/2")
        taken = sorted(int(row.split("\t")[2]) for row in log.read_text().splitlines())
        return {
            "requests": counts["succeeded"],
            "failed": counts["failed"] + counts["errored"] + counts["timeout"],
            "p99": taken[int(len(taken) * 0.99)] / 1e6 if taken else 0,
        }

    return load


def handshakes(kind):
    def load(peer, seconds):
        command = [sys.executable, str(HERE / "handshakes.py"), str(peer.tls), str(seconds), kind]
        return json.loads(run_bounded(command, peer, seconds))

    return load


def tunnels(count, size):
    def load(peer, seconds):
        program = compiled(peer.programs, "tunnels")
        found = json.loads(run_bounded([str(program), str(peer.plain), str(count), str(size), str(seconds)], peer, seconds))
        return found | {"gigabytes": found["bytes"] / 1e9}

    return load


def run_bounded(command, peer, seconds):
    """Runs a load generator on its core; ends it when it takes far longer than asked."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds * 3 + 60,
            preexec_fn=pin(peer.load_core),
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} did not end") from None
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\n{done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout
