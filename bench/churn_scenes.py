"""What happens to the app in bench/churn while requests go on: each scene is prepared, and then acted under load."""

import asyncio
import http.client
import json
import subprocess
import time
from collections import namedtuple

from churn_docker import compose_command, docker, own_label
from churn_load import Load, WebSockets
from common import BenchError

START_MS = 3000
SERVICE = "app"
# What an app is started with: how long it does not listen yet, and how long it goes on after SIGTERM.
AT_ONCE = {"START_DELAY_MS": str(START_MS)}
FINISHES = {"START_DELAY_MS": str(START_MS), "TERM_DELAY_MS": "500"}
QUICK = {}
LEAD, SETTLE = 2, 3  # seconds of load before anything happens, and after all of it is over
CYCLES = 20  # starts and stops of an unrelated container
SOCKETS = 100

Scene = namedtuple("Scene", "title environment replicas act sockets", defaults=(0,))


class App:
    """The compose project behind the proxies."""

    def __init__(self, stage):
        self.stage, self.version, self.scale = stage, 0, 1
        self.directory = stage.directory / "app"
        self.directory.mkdir(exist_ok=True)
        self.project = f"bench-churn-{own_label().rpartition('=')[2]}"
        self.environment = QUICK

    def deploy(self, environment, replicas=1):
        """A new version of it: other environment, so that all its containers are made again."""
        self.version += 1
        self.environment, self.scale = environment, replicas
        self.up()

    def up(self, replicas=None):
        self.scale = self.scale if replicas is None else replicas
        label, _, pid = own_label().partition("=")
        service = {
            "image": self.stage.image_of_app,
            "environment": self.environment | {"VERSION": str(self.version)},
            "labels": {"wharf.host": self.stage.host, label: pid},
        }
        network = {"external": True, "name": self.stage.network}
        file = {"version": "3.8", "services": {SERVICE: service}, "networks": {"default": network}}
        # JSON is YAML.
        (self.directory / "compose.yml").write_text(json.dumps(file))
        self.compose("up", "-d", "--scale", f"{SERVICE}={self.scale}")

    def compose(self, *words):
        command = [*compose_command(), "-p", self.project, "-f", "compose.yml", *words]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}: {done.stderr}")

    def end(self):
        if containers := self.containers("-a"):
            docker("rm", "-f", *containers)

    def containers(self, *which):
        """Those that run, or others."""
        label = f"label=com.docker.compose.project={self.project}"
        return docker("ps", "-q", "--no-trunc", "--filter", label, *which).split()


def recreate(app):
    app.deploy(app.environment)
    # It listens now, and whoever waits for another second or two before it is used gets them.
    time.sleep(START_MS / 1000 + 2)


def scale_up_and_down(app):
    app.up(replicas=3)
    time.sleep(START_MS / 1000 + 2)
    app.up(replicas=1)


def stop_one(app):
    docker("stop", app.containers()[0])


def kill_one(app):
    docker("kill", "-s", "KILL", app.containers()[0])


def unrelated(app):
    """Another app, with a name of its own, comes and goes."""
    for _ in range(CYCLES):
        docker("start", app.stage.other)
        docker("stop", app.stage.other)


SCENES = {
    "recreate": Scene("`docker-compose up -d`, new environment; the app exits at once", AT_ONCE, 1, recreate),
    "finish": Scene("the same; the app finishes its requests in 0.5 s", FINISHES, 1, recreate),
    "scale": Scene("`--scale app=3`, then `--scale app=1`", AT_ONCE, 1, scale_up_and_down),
    "stop": Scene("`docker stop` of one of three", QUICK, 3, stop_one),
    "kill": Scene("`docker kill -s KILL` of one of three", QUICK, 3, kill_one),
    "unrelated": Scene(f"another app starts and stops {CYCLES} times", QUICK, 1, unrelated, SOCKETS),
}


async def run(name, app, proxy, rate):
    """One scene in front of one proxy: the figures."""
    scene, address = SCENES[name], (proxy.address, 80)
    await asyncio.to_thread(app.deploy, scene.environment, scene.replicas)
    await asyncio.to_thread(served, app, proxy)
    sockets = WebSockets(address, app.stage.host, scene.sockets)
    await sockets.start()
    load = Load(address, app.stage.host, rate)
    load.start()
    try:
        await asyncio.sleep(LEAD)
        await asyncio.to_thread(scene.act, app)
        await asyncio.sleep(SETTLE)
    finally:
        await load.stop()
    proxy.check()
    figures = {"scene": name, "peer": proxy.name} | load.result()
    if scene.sockets:
        figures |= {"websockets": sockets.result()} | proxy.weight()
    await sockets.stop()
    return figures


def served(app, proxy):
    """Waits until the proxy sends requests to all replicas, or to any where it does not choose by itself."""
    deadline = time.monotonic() + 30
    while len(seen := answering(app, proxy)) < app.scale:
        proxy.check()
        if time.monotonic() > deadline:
            if seen and proxy.name.startswith("caddy-dns"):
                return
            raise BenchError(f"{proxy.name}: {len(seen)} of {app.scale} replicas answer\n{proxy.last_words()}")
        time.sleep(0.2)


def answering(app, proxy):
    """Host names of the replicas that answer a few requests, the current version's only; none where one fails."""
    names = set()
    wanted = {container[:12] for container in app.containers()}
    for _ in range(4 * app.scale):
        connection = http.client.HTTPConnection(proxy.address, timeout=5)
        try:
            connection.request("GET", "/json", headers={"Host": app.stage.host})
            name = json.load(connection.getresponse())["hostname"]
        except (OSError, ValueError, http.client.HTTPException):
            return set()
        finally:
            connection.close()
        if name in wanted:
            names.add(name)
    return names
