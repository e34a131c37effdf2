"""The proxies of legs.py: how each is configured, and what its log says of each request."""

import json
import os
import re

NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 1024; }}
http {{
    log_format lab escape=json '{{"lab":"$http_x_lab","status":$status,"addresses":"$upstream_addr",'
                   '"statuses":"$upstream_status","client":"$remote_addr:$remote_port","request":"$request"}}';
    access_log {folder}/access.log lab;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_connect_timeout 1s;
    proxy_read_timeout 1s;
    proxy_next_upstream error timeout http_503 non_idempotent;
    {upstreams}
    server {{
        listen {address}:{port};
        location /refuse/ {{ return 503; }}
        location /rewritten/ {{ proxy_pass http://good/new/place/; proxy_http_version 1.0; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}
        {locations}
    }}
}}
"""

HAPROXY = """
global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    log global
    log-format '{{"lab":"%[capture.req.hdr(0)]","status":%ST,"server":"%s","address":"%si:%sp","from":"%bi:%bp","retries":"%rc","state":"%tsc","client":"%ci:%cp"}}'
    retries 2
    option redispatch 1
    retry-on all-retryable-errors
    option forwardfor
    timeout connect 1s
    timeout server 1s
    timeout client 30s
    timeout http-keep-alive 10s
frontend front
    bind {address}:{port}
    http-request capture req.hdr(X-Lab) len 64
    http-request return status 503 if {{ path_beg /refuse/ }}
    http-request replace-path /rewritten/(.*) /new/place/\\1 if {{ path_beg /rewritten/ }}
    {rules}
    default_backend good
{backends}
"""

APACHE = """
ServerRoot {folder}
PidFile {folder}/apache.pid
Listen {address}:{port}
ServerName shop.example
{modules}
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
KeepAliveTimeout 10
ErrorLog {folder}/error.log
LogFormat "{{\\"lab\\":\\"%{{X-Lab}}i\\",\\"status\\":%>s,\\"client\\":\\"%a:%{{remote}}p\\",\\"request\\":\\"%r\\"}}" lab
CustomLog {folder}/access.log lab
ProxyTimeout 1
RedirectMatch 503 ^/refuse/
{groups}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: {address}, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/access.log
              log_format: {{ json_format: {{ lab: "%REQ(X-LAB)%", status: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%",
                tries: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", host: "%UPSTREAM_HOST%", from: "%UPSTREAM_LOCAL_ADDRESS%",
                client: "%DOWNSTREAM_REMOTE_ADDRESS%" }} }}
          route_config:
            virtual_hosts: [{{ name: all, domains: ["*"], routes: [
              {{ match: {{ prefix: /refuse/ }}, direct_response: {{ status: 503 }} }},
              {{ match: {{ prefix: /rewritten/ }}, route: {{ cluster: good, prefix_rewrite: /new/place/, timeout: 1s }} }},
              {routes}] }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
{clusters}
"""

RETRYING = ("retry", "dead-retry", "busy-retry")


def write(folder, name, text):
    """Write a configuration file; return its path."""
    path = f"{folder}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def nginx(folder, address, port, target, groups):
    """Command of nginx, and whether it rewrites paths."""
    upstreams = "\n".join(
        f"    upstream {name} {{ " + " ".join(f"server {target}:{it} max_fails=0;" for it in ports) + " keepalive 16; }"
        for name, ports in groups.items())
    locations = "\n".join(f"        location /{name}/ {{ proxy_pass http://{name}; }}" for name in groups)
    conf = write(folder, "nginx.conf", NGINX.format(folder=folder, address=address, port=port, upstreams=upstreams,
                                                    locations=locations))
    return ["nginx", "-p", folder, "-c", conf, "-e", f"{folder}/error.log"], True


def haproxy(folder, address, port, target, groups):
    """Command of HAProxy, and whether it rewrites paths."""
    rules = "\n".join(f"    use_backend {name} if {{ path_beg /{name}/ }}" for name in groups)
    backends = ""
    for name, ports in groups.items():
        servers = "\n".join(f"    server s{it} {target}:{it}" for it in ports)
        retries = "" if name in RETRYING else "    retries 0\n"
        backends += f"backend {name}\n    balance roundrobin\n{retries}{servers}\n"
    conf = write(folder, "haproxy.cfg", HAPROXY.format(address=address, port=port, rules=rules, backends=backends))
    return ["haproxy", "-db", "-f", conf], True


def apache(folder, address, port, target, groups):
    """Command of Apache httpd, and whether it rewrites paths."""
    names = ["mpm_event", "authz_core", "alias", "proxy", "proxy_http", "proxy_balancer", "slotmem_shm",
             "lbmethod_byrequests"]
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in names)
    text = 'ProxyPass "/refuse/" "!"\n'
    for name, ports in groups.items():
        members = "\n".join(f'BalancerMember "http://{target}:{it}" retry=0 connectiontimeout=1' for it in ports)
        status = "" if name not in RETRYING else "ProxySet failonstatus=503"
        text += f'<Proxy "balancer://{name}">\n{members}\n{status}\n</Proxy>\n'
        text += f'ProxyPass "/{name}/" "balancer://{name}/{name}/"\n'
    text += 'ProxyPass "/rewritten/" "balancer://good/new/place/"\n'
    os.makedirs(f"{folder}/logs", exist_ok=True)
    conf = write(folder, "apache.conf", APACHE.format(folder=folder, address=address, port=port, modules=modules,
                                                      groups=text))
    return ["apache2", "-X", "-f", conf], True


def envoy(folder, address, port, target, groups):
    """Command of Envoy, and whether it rewrites paths."""
    routes, clusters = [], ""
    for name, ports in groups.items():
        retry = ", retry_policy: { retry_on: '5xx,reset,connect-failure', num_retries: 2 }" if name in RETRYING else ""
        routes.append(f"{{ match: {{ prefix: /{name}/ }}, route: {{ cluster: {name}, timeout: 1s{retry} }} }}")
        points = ", ".join(f"{{ endpoint: {{ address: {{ socket_address: {{ address: {target}, port_value: {it} }} }} }} }}"
                           for it in ports)
        clusters += (f"  - name: {name}\n    connect_timeout: 1s\n    load_assignment:\n      cluster_name: {name}\n"
                     f"      endpoints: [{{ lb_endpoints: [{points}] }}]\n")
    conf = write(folder, "envoy.yaml", ENVOY.format(folder=folder, address=address, port=port, clusters=clusters,
                                                    routes=",\n              ".join(routes)))
    return ["envoy", "-c", conf, "--use-dynamic-base-id", "--concurrency", "1", "--file-flush-interval-msec", "10"], True


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "apache": apache, "envoy": envoy}


def read_log(proxy, folder):
    """By X-Lab: the status that the proxy logged, and how many targets it tried, as far as it tells."""
    path = f"{folder}/stdout.log" if proxy == "haproxy" else f"{folder}/access.log"
    logged = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                row = json.loads(text)
            except ValueError:
                continue
            if proxy == "nginx":
                tries = [int(it.rsplit(":", 1)[1]) for it in re.split(r", | : ", row["addresses"]) if ":" in it]
            elif proxy == "haproxy":
                tries = None if row["server"] == "<NOSRV>" else int(row["retries"].lstrip("+")) + 1
            elif proxy == "envoy":
                tries = int(row["tries"] or 0)
            else:
                tries = None
            logged[row["lab"]] = {"status": int(row["status"] or 0), "tries": tries}
    return logged
