"""The origin and the proxies of bench/run: their configuration, and how each is started."""

import os
import subprocess
import sys
import time

from common import HERE, BenchError, Server, free_port, wait_until

MB = 1 << 20
SMALL = b"Hello from the origin. " * 5

ORIGIN = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0; sendfile on; tcp_nopush on;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{plain};
    root {directory}/files;
    location = /small {{ default_type text/plain; return 200 "{small}"; }}
    # nginx answers after it has read the whole body only where it passes the request on.
    location = /up {{
      client_body_buffer_size 12m;
      proxy_pass http://127.0.0.1:{plain}/small; proxy_method GET; proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }}
  }}
}}
"""

NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;
    # Streams both ways, as the others do: no temporary files.
    proxy_request_buffering off; proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://origin; }}
    # Large buffers save a third of nginx's time on 100 MB, and cost a little on 1 MB.
    location = /100m {{
      proxy_pass http://origin;
      proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 512k;
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {certificate} alpn h2,http/1.1
  option forwardfor
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin}
"""


def start_peer(name, directory, origin, certificate, options):
    """Starts a proxy and checks that its answers are the origin's, before anything is measured."""
    peer = Server(name, directory, options.proxy_core)
    try:
        PEERS[name](peer, origin.plain, certificate, options)
        check(peer)
    except BaseException:
        peer.stop()
        raise
    return peer


def check(peer):
    deadline = time.monotonic() + 20
    schemes = [("http", peer.plain)] + ([] if peer.name in PLAIN_ONLY else [("https", peer.tls)])
    for scheme, port in schemes:
        for path, size in (("/small", len(SMALL)), ("/1m", MB)):
            while (found := curl(f"{scheme}://localhost:{port}{path}")) != f"200 {size}":
                if time.monotonic() > deadline or not peer.alive():
                    wrong = f"{peer.name}: {scheme} {path} answered `{found}`, not `200 {size}`"
                    raise BenchError(f"{wrong}\n{peer.last_words()}")
                time.sleep(0.1)


def curl(url):
    command = ["curl", "-sk", "--noproxy", "*", "-o", os.devnull, "--max-time", "5"]
    done = subprocess.run(command + ["-w", "%{http_code} %{size_download}", url], capture_output=True, text=True)
    return done.stdout


def start_origin(directory, core):
    peer = Server("origin", directory, core)
    files = peer.directory / "files"
    files.mkdir()
    (files / "1m").write_bytes(bytes(MB))
    (files / "100m").write_bytes(bytes(100 * MB))
    peer.start(nginx_command(peer, ORIGIN.format(directory=peer.directory, plain=peer.plain, small=SMALL.decode())))
    return peer


def start_nginx(peer, origin, certificate, _options):
    config = NGINX.format(
        directory=peer.directory, plain=peer.plain, tls=peer.tls, origin=origin, certificate=certificate,
    )
    peer.start(nginx_command(peer, config))


def start_haproxy(peer, origin, certificate, _options):
    config = peer.directory / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            plain=peer.plain, tls=peer.tls, origin=origin, certificate=certificate,
        )
    )
    peer.start(["haproxy", "-db", "-f", str(config)])


def start_wharf(peer, origin, _certificate, options, hosts=0, binary=None):
    engine = peer.directory / "docker.sock"
    peer.start([sys.executable, str(HERE / "engine.py"), str(engine), str(origin), str(hosts)], core=options.load_core)
    wait_until(engine.exists, "the fake Docker engine")
    environment = {
        "DOCKER_HOST": f"unix://{engine}",
        "WHARF_HTTP": f"127.0.0.1:{peer.plain}",
        "WHARF_HTTPS": f"127.0.0.1:{peer.tls}",
        "WHARF_ADMIN": f"127.0.0.1:{free_port()}",
        "WHARF_DATA": str(peer.directory / "data"),
        "WHARF_WORKERS": "1",
        "WHARF_ACCESS_LOG": "off",
        "WHARF_LOG": "warn",
    }
    peer.start([binary or options.binary, "run"], environment)


def start_wharf_10k(peer, origin, certificate, options):
    """Wharf with 10,000 more hosts: `--peers wharf,wharf-10k` shows what they cost a request."""
    start_wharf(peer, origin, certificate, options, hosts=10_000)


def start_base(peer, origin, certificate, options):
    """Another build of Wharf, `--base FILE`: what a change costs or saves."""
    start_wharf(peer, origin, certificate, options, binary=options.base)


def start_relay(peer, origin, _certificate, options):
    peer.start([str(options.relay), str(peer.plain), str(origin)])


PEERS = {
    "wharf": start_wharf,
    "nginx": start_nginx,
    "haproxy": start_haproxy,
    "relay": start_relay,
    "base": start_base,
    "wharf-10k": start_wharf_10k,
}
# Who Wharf is compared with; the others are yardsticks.
RIVALS = ("nginx", "haproxy")
PLAIN_ONLY = ("relay",)


def nginx_command(peer, config):
    path = peer.directory / "nginx.conf"
    # As root, workers change to another user, which could not read the origin's files.
    path.write_text(("user root;\n" if os.getuid() == 0 else "") + config)
    return ["nginx", "-p", str(peer.directory), "-e", str(peer.directory / "error.log"), "-c", str(path)]


def build_relay(directory):
    relay = directory / "relay-program"
    subprocess.run(["cc", "-O2", "-o", str(relay), str(HERE / "relay.c")], check=True)
    return relay


def make_certificate(directory):
    key, certificate, both = directory / "key.pem", directory / "certificate.pem", directory / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:bench.localhost"]
    subprocess.run(command + ["-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    return both
