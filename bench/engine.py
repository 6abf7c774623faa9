"""A Docker engine that runs one container, `origin`: Wharf's routes for the benchmark.

engine.py SOCKET PORT [--hosts N] [--sites N] [--swap] [--label NAME=VALUE ..]: serves on the Unix socket SOCKET; the container is 127.0.0.1
and exposes PORT. With --hosts there are as many more host names, on containers of a hundred each; with --sites as many
more containers, each with a name and a certificate of its own. With --swap one more container changes its host name
every 10 ms, with an event each time, from SIGUSR1 until SIGUSR2.
"""

import argparse
import json
import os
import re
import signal
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler

from common import site

ID = "b" * 64
NETWORK_ID = "c" * 64
LABELS = {
    # `localhost` too: load generators take the TLS server name from the address they connect to.
    "wharf.host": "bench.localhost, localhost",
    "wharf.https": "both",
    "wharf.tls": "internal",
}
SWAP_EVERY = 0.01
# Names of the container that changes; a list sees the same one again only after 970 ms.
SWAP_NAMES = 97


def answers(port, hosts, sites):
    """Path -> what is answered there."""
    networks = {
        "bridge": {
            "NetworkID": NETWORK_ID,
            "EndpointID": "d" * 64,
            "Gateway": "127.0.0.1",
            "IPAddress": "127.0.0.1",
            "IPPrefixLen": 8,
            "GlobalIPv6Address": "",
            "Aliases": None,
        }
    }
    container = {
        "Id": ID,
        "Names": ["/origin"],
        "Image": "origin",
        "ImageID": "sha256:" + "e" * 64,
        "Command": "/origin",
        "Created": 1700000000,
        "Ports": [{"PrivatePort": port, "Type": "tcp"}],
        "Labels": LABELS,
        "State": "running",
        "Status": "Up 1 minute",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": networks},
        "Mounts": [],
    }
    state = {"Status": "running", "Running": True, "Paused": False, "Restarting": False, "Pid": 1}
    inspected = {
        "Id": ID,
        "Name": "/origin",
        "Created": "2023-11-14T22:13:20Z",
        "Image": container["ImageID"],
        "State": state | {"StartedAt": "2023-11-14T22:13:21Z", "FinishedAt": "0001-01-01T00:00:00Z"},
        "Config": {"Image": "origin", "Labels": LABELS, "ExposedPorts": {f"{port}/tcp": {}}},
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": networks},
    }
    network = {"Name": "bridge", "Id": NETWORK_ID, "Scope": "local", "Driver": "bridge", "Internal": False}

    def another(kind, number, labels):
        return container | {"Id": f"{kind}{number:063x}", "Names": [f"/other{kind}{number}"], "Labels": labels}

    others = [
        another(0, first, LABELS | {"wharf.host": ", ".join(f"h{first + i}.bench.localhost" for i in range(100))})
        for first in range(0, hosts, 100)
    ]
    # Their certificates come from the store, where only names of `auto` are looked for.
    others += [another(1, i, LABELS | {"wharf.host": site(i), "wharf.tls": "auto"}) for i in range(sites)]
    return {
        "/version": {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"},
        "/info": {"ID": "bench", "Name": "bench", "ServerVersion": "20.10.24", "Swarm": {"LocalNodeState": "inactive"}},
        "/containers/json": [container] + others,
        f"/containers/{ID}/json": inspected,
        "/networks": [network],
        "/networks/bridge": network,
        f"/networks/{NETWORK_ID}": network,
    }


class Engine(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, answers, swap):
        super().__init__(path, Handler)
        # Written once: how long this takes is not to be measured.
        self.answers = {path: json.dumps(answer).encode() for path, answer in answers.items()}
        self.listeners = set()
        self.turn, self.swapping = 0, threading.Event()
        self.template = answers["/containers/json"][0] if swap else None

    def containers(self):
        """The list, with the container that changes as it is at this moment."""
        listed = self.answers["/containers/json"]
        if self.template is None:
            return listed
        labels = LABELS | {"wharf.host": f"swap{self.turn % SWAP_NAMES}.bench.localhost"}
        changed = self.template | {"Id": "f" * 64, "Names": ["/swap"], "Labels": labels}
        return listed[:-1] + b", " + json.dumps(changed).encode() + b"]"

    def swap(self):
        due = time.monotonic()
        while True:
            self.swapping.wait()
            due = max(due + SWAP_EVERY, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))
            self.turn += 1
            actor = {"ID": "f" * 64, "Attributes": {"name": "swap"}}
            event = {"Type": "container", "Action": "start", "Actor": actor, "time": int(time.time())}
            for listener in list(self.listeners):
                listener.tell(event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = re.sub(r"^/v[0-9.]+(?=/)", "", self.path.partition("?")[0])
        if path == "/_ping":
            self.answer(200, b"OK", "text/plain")
        elif path == "/events":
            self.send_response(200)
            self.send_header("Api-Version", "1.41")
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            self.server.listeners.add(self)
            self.rfile.read(1)  # Returns when the client leaves.
            self.server.listeners.discard(self)
            self.close_connection = True
        elif path == "/containers/json":
            self.answer(200, self.server.containers(), "application/json")
        elif path in self.server.answers:
            self.answer(200, self.server.answers[path], "application/json")
        else:
            message = {"message": f"the benchmark's engine does not know {path}"}
            self.answer(404, json.dumps(message).encode(), "application/json")

    do_HEAD = do_GET

    def tell(self, event):
        line = json.dumps(event).encode() + b"\n"
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        except OSError:
            self.server.listeners.discard(self)

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("port", type=int)
    parser.add_argument("--hosts", type=int, default=0)
    parser.add_argument("--sites", type=int, default=0)
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--label", action="append", default=[])
    options = parser.parse_args()
    LABELS.update(label.split("=", 1) for label in options.label)
    if os.path.exists(options.socket):
        os.unlink(options.socket)
    with Engine(options.socket, answers(options.port, options.hosts, options.sites), options.swap) as engine:
        if options.swap:
            signal.signal(signal.SIGUSR1, lambda *_: engine.swapping.set())
            signal.signal(signal.SIGUSR2, lambda *_: engine.swapping.clear())
            threading.Thread(target=engine.swap, daemon=True).start()
        engine.serve_forever()


if __name__ == "__main__":
    main()
