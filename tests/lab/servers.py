"""Real servers as targets: nginx, Apache, HAProxy and Python's http.server, in the target's namespace.

They listen on a port of their own and forward to the backend where they can, so its shapes and faults stay available.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

from certificates import Certificates
from world import LabError

FRONT = 8443
FORWARD = "location / {{ proxy_pass http://127.0.0.1:8080; proxy_http_version 1.1; proxy_set_header Host $http_host; }}"
NGINX = """
user root;
daemon off;
worker_processes 1;
pid {folder}/server.pid;
error_log {folder}/server-error.log info;
events {{ }}
http {{
    access_log {folder}/server.log;
    client_max_body_size 10m;
    client_body_temp_path {folder}/s-body;
    proxy_temp_path {folder}/s-proxy;
    fastcgi_temp_path {folder}/s-f;
    uwsgi_temp_path {folder}/s-u;
    scgi_temp_path {folder}/s-s;
    {servers}
}}
"""
NGINX_TLS = """
    server {{
        listen {port} ssl{more};
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        {extra}
        """ + FORWARD + """
    }}
"""
NGINX_PLAIN = "server {{ listen {port}; " + FORWARD + " }}"
APACHE = """
ServerRoot {folder}
PidFile {folder}/server.pid
Listen {port}
ServerName shop.example
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
StartServers 1
ErrorLog {folder}/server-error.log
ProxyPass / http://127.0.0.1:8080/
{tls}
{extra}
"""
APACHE_TLS = "SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {certificate}"
HAPROXY = """
global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 3s
    timeout server 30s
    timeout client 30s
frontend front
    bind :{port} {tls}
    default_backend back
backend back
    {extra}
    server t1 127.0.0.1:8080
"""


def write(path, text):
    """Write a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def nginx(folder, certificate, more, extra):
    """nginx's command."""
    template = NGINX_TLS if certificate else NGINX_PLAIN
    if "ssl_protocols" not in extra:
        extra += " ssl_protocols TLSv1.2 TLSv1.3;"
    servers = template.format(port=FRONT, certificate=certificate, more=more, extra=extra)
    conf = write(f"{folder}/server.conf", NGINX.format(folder=folder, servers=servers))
    return ["nginx", "-p", folder, "-c", conf, "-e", f"{folder}/server-error.log"]


def apache(folder, certificate, _more, extra):
    """Apache's command."""
    os.makedirs(f"{folder}/logs", exist_ok=True)
    tls = APACHE_TLS.format(certificate=certificate) if certificate else ""
    return ["apache2", "-X", "-f", write(f"{folder}/server.conf", APACHE.format(
        folder=folder, port=FRONT, tls=tls, extra=extra))]


def haproxy(folder, certificate, more, extra):
    """HAProxy's command."""
    tls = f"ssl crt {certificate} {more}" if certificate else ""
    return ["haproxy", "-db", "-f", write(f"{folder}/server.conf", HAPROXY.format(port=FRONT, tls=tls, extra=extra))]


def python(folder, _certificate, _more, _extra):
    """The command of Python's http.server, in clear."""
    return [sys.executable, "-m", "http.server", "--protocol", "HTTP/1.1", "--directory", folder, str(FRONT)]


KINDS = {"nginx": nginx, "apache": apache, "haproxy": haproxy, "python": python}
WAIT = "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1).close()"


@contextlib.contextmanager
def serving(lab, kind, certificate="", more="", extra=""):
    """Run a server at the target; with the name of a certificate it speaks TLS."""
    folder, prefix = f"{lab.world.folder}/server", lab.world.inside()
    os.makedirs(folder, exist_ok=True)
    made = Certificates(f"{lab.world.folder}/certificates")
    command = KINDS[kind](folder, made.path(certificate) if certificate else "", more, extra.replace("{ca}",
                          made.path("ca")))
    with open(f"{folder}/start.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([*prefix, *command], stdout=log, stderr=log)
    try:
        for _ in range(60):
            if subprocess.run([*prefix, sys.executable, "-c", WAIT, str(FRONT)], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise LabError(f"the server {kind} did not start, see {folder}")
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
