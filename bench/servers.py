"""The servers of bench/run: how each is configured and started. The templates are in configs.py."""

import json
import os
import subprocess
import sys
import time
from collections import namedtuple
from functools import partial
from random import Random

from certificates import keep_certificates
from common import HERE, BenchError, Server, free_port, site, wait_until
from configs import (
    CADDY, HAPROXY, HAPROXY_CACHE, HAPROXY_CACHED, HAPROXY_CHOOSE, HAPROXY_GZIP, HAPROXY_LARGE_TUNNELS, HAPROXY_SITE, NGINX,
    NGINX_CACHE, NGINX_CACHE_PATH, NGINX_GZIP, NGINX_LARGE_TUNNELS, NGINX_LIMIT, NGINX_LIMIT_ZONE, NGINX_PROXIED, NGINX_SITE,
    NGINX_STATIC, NGINX_UPGRADE, NGINX_UPGRADE_MAP, ORIGIN,
)

MB = 1 << 20
SMALL = b"Hello from the origin. " * 5
# The directory URL under whose name Wharf keeps the certificates of the work `start`; nobody is ever asked.
ACME = "ca.localhost"

# What all peers of a work have in common. `origin` is `files` or `echo`; `pinned`: the proxy has a core to itself, or
# all share both; `sites` are names with a certificate each; `large` are buffers for large messages in tunnels.
Setting = namedtuple(
    "Setting", "origin connections pinned sites large", defaults=("files", 4096, True, 0, False)
)
# What a start is given: a setting, with the origin's port and files, the certificates and the options of the run.
Scene = namedtuple("Scene", "setting origin files certificate certificates options")


def start_peer(name, directory, scene):
    """Starts a proxy and checks that its answers are the origin's, before anything is measured."""
    peer = new_peer(name, directory, scene)
    try:
        peer.begin()
        check(peer, scene.setting, patience=6 if getattr(scene.options, "wrap", []) else 1)
    except BaseException:
        peer.stop()
        raise
    return peer


def new_peer(name, directory, scene):
    """A proxy that is set up, but not yet started: `begin` does."""
    options = scene.options
    peer = Server(name, directory, options.proxy_core if scene.setting.pinned else None)
    peer.load_core = options.load_core if scene.setting.pinned else None
    peer.admin, peer.programs = free_port(), options.programs
    try:
        peer.begin = partial(peer.start, *PEERS[name](peer, scene))
    except BaseException:
        peer.stop()
        raise
    return peer


def check(peer, setting, patience=1):
    deadline = time.monotonic() + 20 * patience
    schemes = [("http", peer.plain)] + ([] if peer.name in PLAIN_ONLY else [("https", peer.tls)])
    if setting.origin == "echo":
        asked = [(f"{scheme}://localhost:{port}/ws", "101 0") for scheme, port in schemes]
    else:
        paths = (("/small", len(SMALL)), ("/1m", MB))
        asked = [(f"{scheme}://localhost:{port}{path}", f"200 {size}") for scheme, port in schemes for path, size in paths]
    for url, wanted in asked:
        while (found := curl(url, upgrade=setting.origin == "echo", patience=patience)) != wanted:
            if time.monotonic() > deadline or not peer.alive():
                raise BenchError(f"{peer.name}: {url} answered `{found}`, not `{wanted}`\n{peer.last_words()}")
            time.sleep(0.1)


def curl(url, upgrade=False, patience=1):
    command = ["curl", "-sk", "--noproxy", "*", "-o", os.devnull, "--max-time", str(5 * patience)]
    if upgrade:
        # curl waits for the end of a tunnel, which does not come.
        command[-1] = "0.3"
        command += ["--http1.1", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket"]
        command += ["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    done = subprocess.run(command + ["-w", "%{http_code} %{size_download}", url], capture_output=True, text=True)
    return done.stdout


def start_files(directory, core, _programs):
    origin = Server("origin", directory, core)
    files = origin.directory / "files"
    files.mkdir()
    (files / "small").write_bytes(SMALL)
    (files / "4k").write_bytes(b"k" * 4096)
    (files / "1m").write_bytes(bytes(MB))
    (files / "api.json").write_text(api_answer())
    (files / "100m").write_bytes(bytes(100 * MB))
    config = ORIGIN.format(directory=origin.directory, plain=origin.plain, small=SMALL.decode(), kilobyte="k" * 1024)
    origin.start(nginx_command(origin, config))
    return origin


def api_answer():
    """100 KB of JSON as an API answers: a list of objects. The same in every run."""
    random = Random(7)
    words = "alpha beta gamma delta invoice order customer pending shipped cancelled warehouse express standard note remark".split()
    rows, size = [], 0
    while size < 100_000:
        rows.append(
            json.dumps(
                {
                    "id": random.randrange(10**6),
                    "uuid": f"{random.getrandbits(128):032x}",
                    "customer": {"name": " ".join(random.choices(words, k=2)), "email": f"{random.choice(words)}{random.randrange(1000)}@example.com"},
                    "status": random.choice(words),
                    "amount": round(random.random() * 1000, 2),
                    "created_at": "2026-%02d-%02dT%02d:%02d:%02dZ" % tuple(random.randrange(1, n) for n in (12, 28, 23, 59, 59)),
                    "tags": random.sample(words, 3),
                    "active": random.random() < 0.5,
                }
            )
        )
        size += len(rows[-1]) + 2
    return f"[{', '.join(rows)}]"


def start_echo(directory, core, programs):
    compiled(programs, "tunnels")  # its client, which is not to be built while something is measured
    origin = Server("echo", directory, core)
    origin.start([str(compiled(programs, "echo")), str(origin.plain)])
    return origin


def nginx(peer, scene, workers=1, cache=False, gzip=False, static=False, limit=False):
    setting, sites = scene.setting, range(scene.setting.sites)
    tunnels = setting.origin == "echo"
    http = [NGINX_UPGRADE_MAP if tunnels else "", NGINX_LARGE_TUNNELS if setting.large else "", NGINX_GZIP if gzip else ""]
    http += [NGINX_CACHE_PATH.format(directory=peer.directory)] if cache else []
    http += [NGINX_LIMIT_ZONE] if limit else []
    proxied = NGINX_PROXIED.format(more=" ".join([NGINX_CACHE if cache else "", NGINX_LIMIT if limit else ""]))
    common = dict(plain=peer.plain, tls=peer.tls, origin=scene.origin)
    config = NGINX.format(
        **common,
        directory=peer.directory,
        certificate=scene.certificate,
        workers=workers,
        connections=setting.connections,
        # As Wharf does: one socket for each worker.
        listen="reuseport" if workers > 1 else "",
        http=" ".join(http),
        locations=NGINX_STATIC.format(files=scene.files) if static else proxied,
        upgrade=NGINX_UPGRADE if tunnels else 'proxy_set_header Connection "";',
        sites="".join(
            NGINX_SITE.format(**common, name=site(i), certificate=scene.certificates / f"{site(i)}.pem") for i in sites
        ),
    )
    return (nginx_command(peer, config),)


def haproxy(peer, scene, workers=1, cache=False, gzip=False):
    setting, sites = scene.setting, range(scene.setting.sites)
    hosts = peer.directory / "hosts.map"
    hosts.write_text("".join(f"{site(i)} {site(i)}\n" for i in sites))
    config = peer.directory / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            plain=peer.plain,
            tls=peer.tls,
            origin=scene.origin,
            certificate=scene.certificate,
            certificates=f"crt {scene.certificates}" if sites else "",
            workers=workers,
            connections=setting.connections,
            cache=HAPROXY_CACHE if cache else "",
            cached=HAPROXY_CACHED if cache else "",
            tune=HAPROXY_LARGE_TUNNELS if setting.large else "",
            compress=HAPROXY_GZIP if gzip else "",
            choose=HAPROXY_CHOOSE.format(map=hosts) if sites else "",
            sites="".join(HAPROXY_SITE.format(name=site(i), origin=scene.origin) for i in sites),
        )
    )
    return (["haproxy", "-db", "-f", str(config)],)


def caddy(peer, scene):
    config = peer.directory / "Caddyfile"
    config.write_text(CADDY.format(plain=peer.plain, tls=peer.tls, origin=scene.origin, certificate=scene.certificate))
    environment = {name: str(peer.directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    if scene.setting.pinned:
        environment["GOMAXPROCS"] = "1"
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)], environment


def wharf(peer, scene, hosts=0, workers=1, log=False, swap=False, base=False, cache=False, static=False, labels=(), more=None):
    engine, sites = peer.directory / "docker.sock", scene.setting.sites
    words = [str(engine), str(scene.origin), "--hosts", str(hosts), "--sites", str(sites)]
    words += ["--swap"] if swap else []
    words += ["--label", "wharf.cache=on"] if cache else []
    words += ["--label", f"wharf.static={scene.files}"] if static else []
    words += [word for label in [*getattr(scene.options, "labels", []), *labels] for word in ("--label", label)]
    peer.start([sys.executable, str(HERE / "engine.py"), *words], core=peer.load_core)
    wait_until(engine.exists, "the fake Docker engine")
    data = peer.directory / "data"
    if sites:
        keep_certificates(data, scene.certificates, sites, ACME)
    environment = {
        "DOCKER_HOST": f"unix://{engine}",
        "WHARF_HTTP": f"127.0.0.1:{peer.plain}",
        "WHARF_HTTPS": f"127.0.0.1:{peer.tls}",
        "WHARF_ADMIN": f"127.0.0.1:{peer.admin}",
        "WHARF_ACME": f"https://{ACME}",
        "WHARF_DATA": str(data),
        "WHARF_WORKERS": str(workers),
        "WHARF_ACCESS_LOG": "on" if log else "off",
        "WHARF_LOG": "warn",
        "WHARF_STATIC_DIR": str(scene.files),
    } | (more or {})
    around = getattr(scene.options, "wrap", [])
    return [*around, scene.options.base if base else scene.options.binary, "run"], environment


def relay(peer, scene):
    return ([str(compiled(peer.programs, "relay")), str(peer.plain), str(scene.origin)],)


# Name -> what is to be started: the command, and its environment where that matters.
PEERS = {
    "wharf": wharf,
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "relay": relay,
    # Another build of Wharf, `--base FILE`: what a change costs or saves.
    "base": partial(wharf, base=True),
    "wharf-1k": partial(wharf, hosts=1_000),
    "wharf-10k": partial(wharf, hosts=10_000),
    "wharf-log": partial(wharf, log=True),
    "wharf-swap": partial(wharf, swap=True),
    "wharf-cache": partial(wharf, cache=True),
    "nginx-cache": partial(nginx, cache=True),
    "haproxy-cache": partial(haproxy, cache=True),
    "wharf-static": partial(wharf, static=True),
    "nginx-static": partial(nginx, static=True),
    # So many requests a second for each address that a trusted proxy tells.
    "wharf-limit": partial(wharf, labels=["wharf.ratelimit=10r/s burst=20 nodelay"], more={"WHARF_TRUSTED_PROXIES": "127.0.0.1"}),
    "nginx-limit": partial(nginx, limit=True),
    "wharf-2": partial(wharf, workers=2),
    "wharf-gzip": partial(wharf, labels=["wharf.compress=gzip=4"]),
    "wharf-zstd": partial(wharf, labels=["wharf.compress=zstd"]),
    "wharf-br": partial(wharf, labels=["wharf.compress=br"]),
    "nginx-gzip": partial(nginx, gzip=True),
    "haproxy-gzip": partial(haproxy, gzip=True),
    "nginx-2": partial(nginx, workers=2),
    "haproxy-2": partial(haproxy, workers=2),
}
# Who Wharf is compared with; the others are yardsticks.
RIVALS = ("nginx", "haproxy", "caddy")
PLAIN_ONLY = ("relay",)


def nginx_command(server, config):
    path = server.directory / "nginx.conf"
    # As root, workers change to another user, which could not read the origin's files.
    path.write_text(("user root;\n" if os.getuid() == 0 else "") + config)
    return ["nginx", "-p", str(server.directory), "-e", str(server.directory / "error.log"), "-c", str(path)]


def compiled(directory, name):
    """A helper written in C."""
    program = directory / f"{name}-program"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / f"{name}.c")], check=True)
    return program
