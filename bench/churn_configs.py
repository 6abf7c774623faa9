"""Configurations of the peers of bench/churn. Templates: {app} and {port} are the app's name and port on the network;
generated ones get {sites} or {upstreams}, made of the containers that run."""

# nginx as nginx-proxy sets it up: its image's limits, and of its template what matters here, names and comments apart.
NGINX = """
user nobody nogroup; worker_processes auto; daemon off;
pid /run/nginx.pid; error_log /dev/stderr warn;
events {{ worker_connections 10240; }}
http {{
  access_log off; keepalive_timeout 65;
  map $http_upgrade $proxy_connection {{ default upgrade; '' ''; }}
  proxy_http_version 1.1;
  proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $proxy_connection;
  proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto $scheme;
  {http}
  server {{ listen 80 default_server; server_name _; return 503; }}
  include /conf/sites.conf;
}}
"""
NGINX_SITE = """
upstream {host} {{ {servers} keepalive {keepalive}; }}
server {{ listen 80; server_name {host}; location / {{ proxy_pass http://{host}; }} }}
"""
# Quick to give up an address. Those that failed stay in until the next list, since what takes them out for 10 s takes
# the new container out as well.
NGINX_TUNED = """proxy_connect_timeout 1s; proxy_next_upstream error timeout http_502 http_503;
  proxy_next_upstream_tries 5; proxy_next_upstream_timeout 10s;"""

# Caddy as caddy-docker-proxy sets it up: addresses of the containers, the whole file loaded again after each change.
CADDY = """
{{
  admin 0.0.0.0:2019
  auto_https off
}}
{sites}
"""
CADDY_SITE = "http://{host} {{\n  reverse_proxy {upstreams} {{\n    {options}\n  }}\n}}\n"
CADDY_TUNED = "lb_policy round_robin\n    lb_try_duration 15s\n    lb_try_interval 100ms"

# Caddy with a file written by hand: the name is looked up in Docker's DNS whenever a connection is made.
CADDY_DNS = "http://{host} {{\n  reverse_proxy {app}:{port} {{\n    {options}\n  }}\n}}\n"
CADDY_DNS_TUNED = "lb_try_duration 15s\n    lb_try_interval 100ms"

# haproxy with a file written by hand: places for as many servers as there may be, filled from Docker's DNS.
HAPROXY = """
global
  log stderr format raw daemon warning
  stats socket /run/haproxy.sock mode 600 level admin
resolvers docker
  nameserver dns 127.0.0.11:53
  {resolve}
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  timeout tunnel 1h
  timeout http-keep-alive 65s
  {defaults}
frontend plain
  bind :80
  use_backend app if {{ hdr(host) {host} }}
  default_backend none
backend app
  balance roundrobin
  {backend}
  option forwardfor
  server-template app 5 {app}:{port} {server} resolvers docker resolve-prefer ipv4 init-addr none
backend none
  http-request return status 404
"""
HAPROXY_TYPICAL = {"resolve": "", "defaults": "", "backend": "", "server": "check"}
# No checks: a server that is down would have its requests refused at once, while one that refuses connections is tried
# again every second. Answers of the DNS once a second, believed at once.
HAPROXY_TUNED = {
    "resolve": "timeout resolve 200ms\n  timeout retry 200ms\n  hold valid 200ms\n  hold nx 30s\n  hold obsolete 0s",
    "defaults": "timeout connect 1s\n  timeout queue 15s\n  retries 20\n  option redispatch 1\n"
    "  retry-on conn-failure empty-response",
    "backend": "http-request disable-l7-retry if METH_POST",
    "server": "",
}
