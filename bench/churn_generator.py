#!/usr/bin/env python3
"""Does for bench/churn what docker-gen does for nginx-proxy, and caddy-docker-proxy for Caddy: follows the engine's
events, lists what runs, writes the configuration anew and has it read, if it is another than before.

churn_generator.py KIND LABEL CONTAINER DIRECTORY ADDRESS OPTIONS: KIND is `nginx` or `caddy`, LABEL that of the apps to
list, CONTAINER and ADDRESS the proxy's, DIRECTORY what it has mounted as /conf, OPTIONS for Caddy's `reverse_proxy`.
"""

import http.client
import queue
import sys
import threading
import time
from pathlib import Path

from churn_configs import CADDY, CADDY_SITE, NGINX_SITE
from churn_docker import Engine

HOST_LABEL = "wharf.host"  # the name of an app, whoever reads it
PORT = 3000
# The events they wait for, as their sources have it: docker-gen's own and those nginx-proxy's Procfile adds, and those
# of caddy-docker-proxy's loader.go.
EVENTS = {
    "nginx": ["start", "stop", "die", "health_status", "connect", "disconnect"],
    "caddy": ["create", "start", "stop", "die", "destroy", "connect", "disconnect"],
}


def main():
    kind, label, container, directory, address, options = sys.argv[1:]
    events, ready = queue.SimpleQueue(), threading.Event()
    threading.Thread(target=follow, args=(events, ready, label, EVENTS[kind]), daemon=True).start()
    ready.wait()
    engine, before = Engine(), None
    while True:
        sites = running(engine, label)
        if sites != before:
            write = {"nginx": write_nginx, "caddy": write_caddy}[kind]
            write(engine, sites, container, Path(directory), address, options)
            before = sites
        print(f"{time.time():.3f} {sites}", flush=True)
        {"nginx": quiet, "caddy": throttle}[kind](events)


def follow(events, ready, label, names):
    stream = Engine().events(label, names)
    ready.set()
    for event in stream:
        events.put(event)
    # The bench is over without a proxy that is told of changes.
    events.put(None)


def quiet(events):
    """nginx-proxy's `-wait 100ms:500ms`: until nothing has happened for 100 ms, at most 500 ms."""
    alive(events.get())
    deadline = time.monotonic() + 0.5
    while (left := deadline - time.monotonic()) > 0:
        try:
            alive(events.get(timeout=min(left, 0.1)))
        except queue.Empty:
            return


def throttle(events):
    """caddy-docker-proxy's `event-throttle-interval`: 100 ms after the first."""
    alive(events.get())
    time.sleep(0.1)
    while not events.empty():
        alive(events.get())


def alive(event):
    if event is None:
        sys.exit("the engine's events ended")


def running(engine, label):
    """Host -> addresses of its containers that run, sorted."""
    sites = {}
    for container in engine.containers(label):
        networks = container["NetworkSettings"]["Networks"].values()
        addresses = [network["IPAddress"] for network in networks if network["IPAddress"]]
        if HOST_LABEL in container["Labels"] and addresses:
            sites.setdefault(container["Labels"][HOST_LABEL], []).append(f"{addresses[0]}:{PORT}")
    return {host: sorted(sites[host]) for host in sorted(sites)}


def write_nginx(engine, sites, container, directory, _address, options):
    text = ""
    for host, upstreams in sites.items():
        servers = " ".join(f"server {upstream}{options and ' ' + options};" for upstream in upstreams)
        text += NGINX_SITE.format(host=host, servers=servers, keepalive=2 * len(upstreams))
    (directory / "sites.conf").write_text(text)
    # `nginx -s reload` sends this signal.
    engine.ask("POST", f"/containers/{container}/kill", signal="HUP")


def write_caddy(_engine, sites, _container, _directory, address, options):
    text = CADDY.format(
        sites="".join(
            CADDY_SITE.format(host=host, upstreams=" ".join(upstreams), options=options)
            for host, upstreams in sites.items()
        )
    )
    admin = http.client.HTTPConnection(address, 2019, timeout=60)
    admin.request("POST", "/load", text.encode(), {"Content-Type": "text/caddyfile"})
    answer = admin.getresponse()
    if answer.status != 200:
        sys.exit(f"caddy refuses its configuration: {answer.read().decode()}")
    admin.close()


if __name__ == "__main__":
    main()
