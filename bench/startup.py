"""The work about starting: from exec to the first answer, with as many routes and certificates as a large site has."""

import socket
import ssl
import time

from common import BenchError, site
from report import Figure, Ratio
from servers import RIVALS, Setting

SITES = 1_000
PATIENCE = 60  # seconds


class Start:
    """Two starts a sample: one asked in plain HTTP until it answers, one over TLS."""

    main = False
    most_rounds = None
    figures = [
        Figure("plain", "plain, ms", spread=True),
        Figure("tls", "TLS, ms", spread=True),
        Figure("memory", "MB then"),
    ]
    ratios = [
        Ratio("plain to the best", "plain", {"wharf": RIVALS}),
        Ratio("TLS to the best", "tls", {"wharf": RIVALS}),
    ]

    def __init__(self, name, what):
        self.name, self.what = name, what

    def peers(self, options):
        return [name for name in options.peers if name in ("wharf", "base", "nginx", "haproxy")]

    def prepare(self, stage, name):
        pass

    def sample(self, stage, name):
        sites = 20 if stage.options.quick else SITES
        # A start has the whole machine; reading certificates is work for every core.
        with stage.fresh(name, Setting(sites=sites, pinned=False), started=False) as peer:
            found = {}
            for key, ask in (("plain", ask_plain), ("tls", ask_tls)):
                begun = time.monotonic()
                peer.begin()
                found[key] = (first_answer(peer, ask, site(sites // 2)) - begun) * 1000
                found["memory"] = peer.memory() / 1024
                # What answers is not yet all that runs: nginx has workers to come.
                time.sleep(0.3)
                peer.end_last()
            return found


def first_answer(peer, ask, host):
    """When the first 200 was there."""
    deadline = time.monotonic() + PATIENCE
    request = f"GET /small HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    while True:
        try:
            if ask(peer, host, request).startswith(b"HTTP/1.1 200"):
                return time.monotonic()
        except OSError:
            pass
        if time.monotonic() > deadline or not peer.alive():
            raise BenchError(f"{peer.name} gave no 200 for {host}\n{peer.last_words()}")
        time.sleep(0.0005)


def ask_plain(peer, _host, request):
    with socket.create_connection(("127.0.0.1", peer.plain), timeout=5) as stream:
        stream.sendall(request)
        return stream.recv(65536)


def ask_tls(peer, host, request):
    with socket.create_connection(("127.0.0.1", peer.tls), timeout=5) as plain:
        with CONTEXT.wrap_socket(plain, server_hostname=host) as stream:
            # Not just any certificate: the one of this name.
            if host.encode() not in stream.getpeercert(binary_form=True):
                return b""
            stream.sendall(request)
            return stream.recv(65536)


CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE
