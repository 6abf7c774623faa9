"""This machine's Docker engine for bench/churn: the few calls it needs, images of programs that are installed here, and
the end of all that was started."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import urllib.parse
from pathlib import Path

from common import BenchError

SOCKET = "/var/run/docker.sock"
# Every container, network and image of a run has it; its value is the process that started them.
LABEL = "bench-churn"


class Engine(http.client.HTTPConnection):
    """The engine's API over its socket: quicker than the `docker` command, which takes 50 ms to start."""

    def __init__(self):
        super().__init__("docker")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)

    def ask(self, method, path, **query):
        """The answer, as JSON where it has any."""
        words = "&".join(f"{name}={urllib.parse.quote(value)}" for name, value in query.items())
        self.request(method, f"/v1.40{path}?{words}")
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise BenchError(f"docker: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None

    def containers(self, label):
        return self.ask("GET", "/containers/json", filters=json.dumps({"label": [label]}))

    def events(self, label, names):
        """Yields events as they come."""
        filters = {"type": ["container", "network"], "event": names}
        query = urllib.parse.quote(json.dumps(filters))
        self.request("GET", f"/v1.40/events?filters={query}")
        for line in self.getresponse():
            yield json.loads(line)


def docker(*words):
    done = subprocess.run(["docker", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def compose_command():
    """Whichever this machine has."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    return ["docker", "compose"] if plugin else ["docker-compose"]


def pack(tag, directory, program, more=()):
    """An image FROM scratch: an installed program, the libraries it is linked to, further files (path -> text)."""
    root = directory / tag / "root"
    files = [Path(program).resolve()] + libraries(program)
    for file in files:
        place(root, file).write_bytes(file.read_bytes())
        place(root, file).chmod(0o755)
    for path, text in dict(more).items():
        place(root, Path(path)).write_text(text)
    for name in ("tmp", "run", "var/log/nginx", "var/lib/nginx"):
        (root / name).mkdir(parents=True, exist_ok=True)
    entry = json.dumps([str(files[0])])
    (root.parent / "Dockerfile").write_text(f"FROM scratch\nCOPY root /\nENTRYPOINT {entry}\n")
    docker("build", "-q", "-t", tag, "--label", own_label(), str(root.parent))
    shutil.rmtree(root)


def libraries(program):
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    # A static program has none, and ldd says so by failing.
    words = [word for line in listed.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]


def place(root, file):
    path = root / str(file).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def own_label():
    return f"{LABEL}={os.getpid()}"


def remove(label):
    """All that has this label."""
    for list_words, remove_words in (
        (["ps", "-aq"], ["rm", "-f", "-v"]),
        (["network", "ls", "-q"], ["network", "rm"]),
        (["image", "ls", "-q"], ["image", "rm", "-f"]),
    ):
        found = subprocess.run(["docker", *list_words, "--filter", f"label={label}"], capture_output=True, text=True)
        if ids := sorted(set(found.stdout.split())):
            subprocess.run(["docker", *remove_words, *ids], capture_output=True)


def remove_orphans():
    """What earlier runs left that were killed."""
    found = set()
    for words in (["ps", "-a"], ["network", "ls"]):
        listed = docker(*words, "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{LABEL}"}}}}')
        found |= set(listed.split())
    for pid in found:
        if not Path(f"/proc/{pid}").exists():
            remove(f"{LABEL}={pid}")
