"""Configuration files of the servers of bench/run. Each is a template: what varies is passed in by servers.py."""

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
    # For caches; Date and no more, as an app that says how long its answers are good.
    location = /1k {{ default_type text/plain; add_header Cache-Control max-age=86400; return 200 "{kilobyte}"; }}
    location = /kept {{ default_type text/plain; add_header Cache-Control max-age=86400; alias {directory}/files/1m; }}
    location = /api.json {{ default_type application/json; }}
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
daemon off; worker_processes {workers}; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections {connections}; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server_names_hash_max_size 16384; server_names_hash_bucket_size 128;
  {http}
  ssl_protocols TLSv1.2 TLSv1.3;
  proxy_http_version 1.1;
  {upgrade}
  proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;
  # Streams both ways, as the others do: no temporary files.
  proxy_request_buffering off; proxy_max_temp_file_size 0;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} {listen};
    listen 127.0.0.1:{tls} ssl http2 {listen};
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    {locations}
  }}
  {sites}
}}
"""

NGINX_PROXIED = """
    location / {{ proxy_pass http://origin; {more} }}
    # Large buffers save a third of nginx's time on 100 MB, and cost a little on 1 MB.
    location = /100m {{
      proxy_pass http://origin;
      proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 512k;
    }}
"""
# Open files are kept, as Wharf keeps small ones.
NGINX_STATIC = """
    root {files}; sendfile on; tcp_nopush on; open_file_cache max=1000 inactive=60s;
"""
NGINX_LIMIT_ZONE = "limit_req_zone $http_x_forwarded_for zone=clients:64m rate=10r/s;"
NGINX_LIMIT = "limit_req zone=clients burst=20 nodelay;"

NGINX_UPGRADE = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;'
NGINX_UPGRADE_MAP = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"
# The same level and media type as Wharf is told.
NGINX_GZIP = "gzip on; gzip_comp_level 4; gzip_types application/json; gzip_min_length 256; gzip_proxied any; gzip_vary on;"
# A tunnel's buffer towards the client is the proxy's, the other way that of the request head.
NGINX_LARGE_TUNNELS = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_header_buffer_size 64k;"

NGINX_SITE = """
  upstream {name} {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl http2;
    server_name {name};
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location / {{ proxy_pass http://{name}; }}
  }}
"""

# Without `no strict-limits` haproxy does not start where twice its connections are more than the descriptors it may have.
HAPROXY = """
global
  nbthread {workers}
  maxconn {connections}
  no strict-limits
  {tune}
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
  {compress}
frontend in
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {certificate} {certificates} alpn h2,http/1.1
  option forwardfor
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  {choose}
  default_backend origin
{cache}
backend origin
  {cached}
  server origin 127.0.0.1:{origin}
{sites}
"""

NGINX_CACHE_PATH = "proxy_cache_path {directory}/cache levels=1:2 keys_zone=a:10m max_size=1g inactive=60m use_temp_path=off;"
NGINX_CACHE = "proxy_cache a; proxy_cache_lock on;"
# It keeps nothing larger than a third of its memory.
HAPROXY_CACHE = """cache a
  total-max-size 64
  max-object-size 4000000
  max-age 86400
"""
HAPROXY_CACHED = """http-request cache-use a
  http-response cache-store a"""
HAPROXY_CHOOSE = "use_backend %[req.hdr(host),field(1,:),lower,map({map})] if {{ req.hdr(host),field(1,:),lower,map({map}) -m found }}"
HAPROXY_GZIP = "compression algo gzip\n  compression type application/json"
HAPROXY_LARGE_TUNNELS = "tune.bufsize 65536"
HAPROXY_SITE = """backend {name}
  server origin 127.0.0.1:{origin}
"""

CADDY = """
{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
  servers {{
    protocols h1 h2
  }}
}}
(origin) {{
  reverse_proxy 127.0.0.1:{origin} {{
    header_up X-Real-IP {{remote_host}}
    header_up X-Forwarded-Port {{http.request.port}}
    transport http {{
      keepalive 120s
      keepalive_idle_conns_per_host 512
    }}
  }}
}}
http://:{plain} {{
  bind 127.0.0.1
  import origin
}}
https://:{tls} {{
  bind 127.0.0.1
  tls {certificate} {certificate}
  import origin
}}
"""
