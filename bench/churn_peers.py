"""The proxies of bench/churn: each a container on the app's network, asked at its address there."""

import shutil
import subprocess
import sys
import time
from functools import partial

import churn_configs as configs
from churn_docker import SOCKET, docker, own_label
from common import HERE, BenchError

PORT = 3000  # where the app listens


class Proxy:
    """A running proxy. `reset` is what its memory and processes are counted from."""

    def __init__(self, name, stage):
        self.name, self.stage = name, stage
        self.directory = stage.directory / f"{name}-{time.monotonic_ns()}"
        self.directory.mkdir(parents=True)
        self.container, self.generator = None, None

    def run(self, image, *words, options=()):
        label = own_label()
        self.container = docker(
            "run", "-d", "--network", self.stage.network, "--label", label,
            "-v", f"{self.directory}:/conf:ro", *options, image, *words,
        )
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address = docker("inspect", "-f", template, self.container)
        if not self.address:
            raise BenchError(f"{self.name} ended\n{self.last_words()}")

    def generate(self, kind, options):
        """Has its configuration follow the engine's events."""
        words = [kind, own_label(), self.container, str(self.directory), self.address, options]
        self.generator = subprocess.Popen(
            [sys.executable, str(HERE / "churn_generator.py"), *words],
            stdout=open(self.directory / "generator.log", "w"),
            stderr=subprocess.STDOUT,
        )

    def check(self):
        if self.generator and self.generator.poll() is not None:
            raise BenchError(f"{self.name}'s generator ended\n{(self.directory / 'generator.log').read_text()[-2000:]}")

    def weight(self):
        """Processes, and MB of memory that is no file's."""
        # One line each, the first two are titles and the process that was started.
        pids = docker("top", self.container, "-eo", "pid").split()[1:]
        private = 0
        for pid in pids:
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    private += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon"))
            except OSError:
                continue
        return {"processes": len(pids), "MB": round(private / 1024, 1)}

    def last_words(self):
        done = subprocess.run(["docker", "logs", "--tail", "20", self.container], capture_output=True, text=True)
        return done.stdout + done.stderr

    def stop(self):
        if self.generator:
            self.generator.terminate()
            self.generator.wait()
        if self.container:
            subprocess.run(["docker", "rm", "-f", self.container], capture_output=True)


def start(name, stage):
    proxy = Proxy(name, stage)
    try:
        PEERS[name].start(proxy)
    except BaseException:
        proxy.stop()
        raise
    return proxy


def wharf(proxy):
    stage = proxy.stage
    settings = {
        "WHARF_HTTP": "0.0.0.0:80",
        "WHARF_HTTPS": "off",
        "WHARF_DATA": "/tmp",
        # So that it takes no notice of what else runs on this engine.
        "WHARF_FILTER": f"label={own_label()}",
        "WHARF_ACCESS_LOG": "off",
        "WHARF_LOG": "warn",
    }
    words = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
    image = stage.image("wharf", stage.options.binary)
    proxy.run(image, "run", options=[*words, "-v", f"{SOCKET}:/var/run/docker.sock:ro"])


def nginx(proxy, http="", server=""):
    (proxy.directory / "nginx.conf").write_text(configs.NGINX.format(http=http))
    (proxy.directory / "sites.conf").write_text("")
    accounts = {
        "/etc/passwd": "root:x:0:0::/:\nnobody:x:65534:65534::/:\n",
        "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    }
    proxy.run(proxy.stage.image("nginx", program("nginx"), accounts), "-c", "/conf/nginx.conf")
    proxy.generate("nginx", server)


def caddy(proxy, options=""):
    (proxy.directory / "Caddyfile").write_text(configs.CADDY.format(sites=""))
    run_caddy(proxy)
    proxy.generate("caddy", options)


def caddy_dns(proxy, options=""):
    site = configs.CADDY_DNS.format(host=proxy.stage.host, app="app", port=PORT, options=options)
    (proxy.directory / "Caddyfile").write_text(configs.CADDY.format(sites=site))
    run_caddy(proxy)


def run_caddy(proxy):
    image = proxy.stage.image("caddy", program("caddy"))
    words = ["run", "--adapter", "caddyfile", "--config", "/conf/Caddyfile"]
    proxy.run(image, *words, options=["-e", "HOME=/tmp"])


def haproxy(proxy, settings):
    text = configs.HAPROXY.format(host=proxy.stage.host, app="app", port=PORT, **settings)
    (proxy.directory / "haproxy.cfg").write_text(text)
    # As the user it is started by: the default is another one, who may not read the configuration.
    proxy.run(proxy.stage.image("haproxy", program("haproxy")), "-W", "-db", "-f", "/conf/haproxy.cfg")


class Peer:
    """How a peer is started, and what its configuration stands for."""

    def __init__(self, start, about):
        self.start, self.about = start, about


PEERS = {
    "wharf": Peer(wharf, "the defaults"),
    "nginx": Peer(nginx, "as nginx-proxy has it: written anew and reloaded after each change"),
    "nginx-tuned": Peer(
        partial(nginx, http=configs.NGINX_TUNED, server="max_fails=0"),
        "the same, quick to give up an address, retries after 502 and 503",
    ),
    "caddy": Peer(caddy, "as caddy-docker-proxy has it: written anew and loaded after each change"),
    "caddy-tuned": Peer(partial(caddy, options=configs.CADDY_TUNED), "the same with `lb_try_duration 15s`"),
    "caddy-dns": Peer(caddy_dns, "`reverse_proxy app:3000`, looked up in Docker's DNS"),
    "caddy-dns-tuned": Peer(
        partial(caddy_dns, options=configs.CADDY_DNS_TUNED),
        "`reverse_proxy app:3000`, looked up in Docker's DNS, with `lb_try_duration 15s`",
    ),
    "haproxy": Peer(
        partial(haproxy, settings=configs.HAPROXY_TYPICAL), "`server-template` with `check`, from Docker's DNS"
    ),
    "haproxy-tuned": Peer(
        partial(haproxy, settings=configs.HAPROXY_TUNED),
        "the same without checks, with 20 retries, a second between them, and quick DNS",
    ),
}


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise BenchError(f"{name} is not installed (Debian has it), or leave it out of --peers")
    return found
