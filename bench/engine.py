"""A Docker engine that runs one container, `origin`, and never changes: Wharf's routes for the benchmark.

engine.py SOCKET PORT [HOSTS]: serves on the Unix socket SOCKET; the container is 127.0.0.1 and exposes PORT.
With HOSTS there are as many more host names, on containers of a hundred each.
"""

import json
import os
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler

ID = "b" * 64
NETWORK_ID = "c" * 64
LABELS = {
    # `localhost` too: load generators take the TLS server name from the address they connect to.
    "wharf.host": "bench.localhost, localhost",
    "wharf.https": "both",
    "wharf.tls": "internal",
}


def answers(port, hosts=0):
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
    others = [
        container
        | {
            "Id": f"{first:064x}",
            "Names": [f"/other{first}"],
            "Labels": LABELS | {"wharf.host": ", ".join(f"h{first + i}.bench.localhost" for i in range(100))},
        }
        for first in range(0, hosts, 100)
    ]
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
            self.rfile.read(1)  # Nothing ever happens; returns when the client leaves.
            self.close_connection = True
        elif path in self.server.answers:
            self.answer(200, json.dumps(self.server.answers[path]).encode(), "application/json")
        else:
            message = {"message": f"the benchmark's engine does not know {path}"}
            self.answer(404, json.dumps(message).encode(), "application/json")

    do_HEAD = do_GET

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


if __name__ == "__main__":
    path, port = sys.argv[1], int(sys.argv[2])
    if os.path.exists(path):
        os.unlink(path)
    with Engine(path, Handler) as engine:
        engine.answers = answers(port, *(int(hosts) for hosts in sys.argv[3:]))
        engine.serve_forever()
