"""The proxies under test: how each is configured and started, and what its own log says of a request."""

import os
import re
import signal
import socket
import subprocess
import time

from world import PORT, TARGET, LabError

NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{main}
events {{ worker_connections 1024; }}
http {{
    log_format lab '$msec $remote_addr:$remote_port $status upstream=$upstream_status '
                   'time=$request_time bytes=$bytes_sent "$request"';
    access_log {folder}/access.log lab;
    {http}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    client_max_body_size 10m;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream backend {{
        server {target}:{port} max_fails=0;
        keepalive 32;
        {upstream}
    }}
    server {{
        listen 127.0.0.1:8000;
        location / {{
            proxy_pass {scheme}://backend;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_next_upstream {next_upstream};
            proxy_connect_timeout {connect_ms}ms;
            proxy_send_timeout {server_ms}ms;
            proxy_read_timeout {server_ms}ms;
            {location}
        }}
    }}
}}
"""

HAPROXY = """
global
    log stdout format raw local0
    stats socket {folder}/admin.sock mode 600 level admin
    nbthread 1
    {main}
defaults
    mode http
    log global
    option httplog
    option abortonclose
    retries {retries}
    timeout connect {connect_ms}ms
    timeout server {server_ms}ms
    timeout client 30s
    timeout tunnel 30s
frontend front
    bind 127.0.0.1:8000
    default_backend back
backend back
    http-reuse always
    {location}
    server t1 {target}:{port} {check}
"""

APACHE = """
ServerRoot {folder}
PidFile {folder}/apache.pid
Listen 127.0.0.1:8000
ServerName shop.example
{modules}
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
ErrorLogFormat "[%-L] [%l] %E: %M"
ErrorLog {folder}/error.log
LogFormat "%L %>s %B \\"%r\\"" lab
CustomLog {folder}/access.log lab
ProxyPass / {scheme}://{target}:{port}/ connectiontimeout={connect_s} timeout={server_s} retry=0
{main}
{location}
"""
ENVOY = """
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 9901 }} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: 8000 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/access.log
              log_format: {{ text_format_source: {{ inline_string: "{log_format}" }} }}
          route_config:
            virtual_hosts: [{{ name: all, domains: ["*"], routes: [
              {{ match: {{ prefix: / }}, route: {{ cluster: back }} }}] }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: back
    connect_timeout: {connect_s}s
    load_assignment:
      cluster_name: back
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{
        socket_address: {{ address: {target}, port_value: {port} }} }} }} }}] }}]
    {cluster}
    {check}
"""
ENVOY_LOG = ("%START_TIME% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
             "%UPSTREAM_TRANSPORT_FAILURE_REASON% %REQ(:METHOD)% %REQ(:PATH)%\\n")
APACHE_MODULES = ["mpm_event", "authz_core", "proxy", "proxy_http"]
HAPROXY_LINE = re.compile(r' (\d+|-1) \d+ - - ([A-Za-z-]{2}[A-Za-z-]{2}) .*"(\w+) (\S+) HTTP')


class Verdict:
    """What a proxy's log says of one request."""

    def __init__(self, ok, log, status=None, state=None):
        self.ok, self.log, self.status, self.state = ok, log, status, state


class Proxy:
    """What all proxies have in common."""

    name, binary = "", ""

    def __init__(self, world, connect=3.0, server=3.0, **extra):
        self.folder = f"{world.folder}/{self.name}"
        os.makedirs(self.folder, exist_ok=True)
        self.process, self.offset = None, 0
        self.values = {"folder": self.folder, "target": TARGET, "port": PORT, "main": "", "location": "", "check": "", "http": "",
                       "cluster": "", "upstream": "", "scheme": "http", "next_upstream": "off", "retries": "0",
                       "connect_ms": int(connect * 1000), "server_ms": int(server * 1000),
                       "connect_s": int(connect), "server_s": int(server), **extra}

    def write(self, name, text):
        """Write a configuration file; return its path."""
        path = f"{self.folder}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def spawn(self, command, **streams):
        """Start the proxy and wait until it accepts connections."""
        self.process = subprocess.Popen(command, **streams)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", 8000), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                break
        raise LabError(f"{self.name} did not start, see {self.folder}")

    def stop(self, how=signal.SIGTERM):
        """Stop it at once."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def whole_lines(self, name):
        """The lines of one of its logs, without one that is still being written."""
        try:
            with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read().rpartition("\n")[0].splitlines()
        except FileNotFoundError:
            return []

    def lines(self, name):
        """The lines of one of its logs."""
        try:
            with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []


class Nginx(Proxy):
    """nginx with a keep-alive upstream."""

    name, binary = "nginx", "nginx"

    def start(self):
        """Write the configuration and start."""
        conf = self.write("nginx.conf", NGINX.format(**self.values))
        with open(f"{self.folder}/start.log", "w", encoding="utf-8") as log:
            self.spawn(["nginx", "-p", self.folder, "-c", conf, "-e", f"{self.folder}/error.log"], stderr=log)

    def verdict(self, request_id, expected):
        """Its access line and its error lines about a request, or None while there is no access line."""
        access = [line for line in self.lines("access.log") if request_id in line]
        if not access:
            return None
        errors = [line for line in self.lines("error.log")
                  if request_id in line and ("[error]" in line or "[crit]" in line or "client prematurely" in line)]
        status = int(access[0].split(" ")[2])
        retried = ", " in access[0].partition("upstream=")[2].partition(" time=")[0]
        return Verdict((retried or not errors) and status == expected, "\n".join(access + errors), status)


class HAProxy(Proxy):
    """HAProxy with shared keep-alive connections."""

    name, binary = "haproxy", "haproxy"

    def start(self):
        """Write the configuration and start."""
        conf = self.write("haproxy.cfg", HAPROXY.format(**self.values))
        with open(f"{self.folder}/haproxy.log", "w", encoding="utf-8") as log, \
                open(f"{self.folder}/start.log", "w", encoding="utf-8") as start:
            self.spawn(["haproxy", "-db", "-f", conf], stdout=log, stderr=start)

    def admin(self, command):
        """Give a command on the admin socket."""
        path = f"{self.folder}/admin.sock"
        for _ in range(100):  # it takes its name a moment after the ports are open
            if os.path.exists(path):
                break
            time.sleep(0.01)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(command.encode() + b"\n")
            return sock.recv(65536).decode()

    def verdict(self, request_id, expected):
        """Its log line about a request, or None while there is none."""
        for line in self.lines("haproxy.log"):
            match = HAPROXY_LINE.search(line)
            if match and request_id in match.group(4):
                status, state = int(match.group(1)), match.group(2)
                return Verdict(state == "----" and status == expected, line, status, state)
        return None


class Apache(Proxy):
    """Apache httpd with mod_proxy_http."""

    name, binary = "apache", "apache2"

    def start(self):
        """Write the configuration and start."""
        os.makedirs(f"{self.folder}/logs", exist_ok=True)
        modules = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in APACHE_MODULES)
        conf = self.write("apache.conf", APACHE.format(modules=modules, **self.values))
        with open(f"{self.folder}/start.log", "w", encoding="utf-8") as log:
            self.spawn(["apache2", "-X", "-f", conf], stdout=log, stderr=log)

    def verdict(self, request_id, expected):
        """Its access line and the error lines with the same log id, or None while there is no access line."""
        access = [line for line in self.lines("access.log") if request_id in line]
        if not access:
            return None
        log_id, status = access[0].split(" ")[:2]
        errors = [line for line in self.lines("error.log") if f"[{log_id}]" in line and "[error]" in line]
        return Verdict(not errors and int(status) == expected, "\n".join(access + errors), int(status))


class Envoy(Proxy):
    """Envoy."""

    name, binary = "envoy", "envoy"

    def start(self):
        """Write the configuration and start."""
        text = ENVOY.format(log_format=ENVOY_LOG, **self.values).replace("EVENTS", f"{self.folder}/events.json")
        conf = self.write("envoy.yaml", text)
        with open(f"{self.folder}/start.log", "w", encoding="utf-8") as log:
            self.spawn(["envoy", "-c", conf, "--use-dynamic-base-id", "--concurrency", "1",
                        "--file-flush-interval-msec", "10"], stdout=log, stderr=log)

    def verdict(self, request_id, expected):
        """Its access line about a request, or None while there is none; "-" are no flags."""
        for line in self.whole_lines("access.log"):
            if request_id in line:
                _, status, flags, _ = line.split(" ", 3)
                return Verdict(flags == "-" and int(status) == expected, line, int(status), flags)
        return None


class Direct:
    """No proxy: a client which speaks to the backend itself; its own observation is the log."""

    name, binary = "direct", "python3"

    def __init__(self, world, **_options):
        self.folder = world.folder

    def start(self):
        """Nothing to start."""

    def stop(self):
        """Nothing to stop."""

    def verdict(self, _request_id, _expected):
        """There is no log."""
        return None


PROXIES = {kind.name: kind for kind in (Nginx, HAProxy, Apache, Envoy, Direct)}
CLIENT_ADDRESS = {"direct": (TARGET, PORT)}
