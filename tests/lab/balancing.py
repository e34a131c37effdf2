#!/usr/bin/env python3
"""Requests that a proxy answered itself because no target could take them, beside the proxy's own log.

    python3 tests/lab/balancing.py --out DIR        (root; makes a network namespace)

HAProxy: a group whose only target fails its health check (SC, <NOSRV>), and one whose target takes one request at
a time, so that others wait in the queue until that times out (sQ). nginx: a group whose targets refuse and are then
taken out (no live upstreams). Between them requests that are answered. Captured on the proxy, on all interfaces, so that
both legs are there. Leaves `DIR/<proxy>-proxy.pcap.gz` and the logs as the proxy wrote them.
"""

import argparse
import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROXY, TARGET, CLIENT = "192.0.2.10", "198.51.100.20", "203.0.113.1"
PORT, GOOD, SLOW, DEAD = 8000, 9001, 9002, 9009

HAPROXY = f"""
global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    log global
    option httplog
    timeout connect 1s
    timeout server 5s
    timeout client 10s
    timeout queue 300ms
frontend front
    bind {PROXY}:{PORT}
    use_backend gone if {{ path_beg /gone/ }}
    use_backend queued if {{ path_beg /queued/ }}
    default_backend good
backend good
    server good {TARGET}:{GOOD}
backend gone
    server gone {TARGET}:{DEAD} check inter 200ms fall 1
backend queued
    server slow {TARGET}:{SLOW} maxconn 1
"""

NGINX = f"""
user root;
daemon off;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log FOLDER/access.log combined;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/f;
    uwsgi_temp_path FOLDER/u;
    scgi_temp_path FOLDER/s;
    upstream good {{ server {TARGET}:{GOOD}; }}
    upstream gone {{ server {TARGET}:{DEAD} max_fails=1 fail_timeout=30s; server {TARGET}:{DEAD + 1} max_fails=1 fail_timeout=30s; }}
    server {{
        listen {PROXY}:{PORT};
        location / {{ proxy_pass http://good; }}
        location /gone/ {{ proxy_pass http://gone; }}
    }}
}}
"""


def run(*command):
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


def serve(port, seconds):
    """Answer each request on `port` after so many seconds."""
    listener = socket.create_server((TARGET, port), backlog=64)

    def one(sock):
        with sock:
            data = b""
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            time.sleep(seconds)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")

    def accept():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def ask(path):
    """One request on a connection of its own."""
    with socket.create_connection((PROXY, PORT), timeout=8, source_address=(CLIENT, 0)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: lab/1.0\r\nConnection: close\r\n\r\n".encode())
        while sock.recv(65536):
            pass


def ask_all(proxy):
    """The requests of a run: some at once, so that the queue fills."""
    for turn in range(6):
        group = [f"/ok/{turn}-{n}" for n in range(6)] + [f"/gone/{turn}-{n}" for n in range(4)]
        if proxy == "haproxy":
            group += [f"/queued/{turn}-{n}" for n in range(4)]
        threads = [threading.Thread(target=ask, args=(path,)) for path in group]
        for thread in threads:
            thread.start()
            time.sleep(0.012)
        for thread in threads:
            thread.join()
        time.sleep(0.15)


def capture(proxy, out):
    """One run: start all, ask, stop all, keep the capture and the logs."""
    folder = tempfile.mkdtemp()
    pcap = f"{folder}/{proxy}.pcap"
    dump = subprocess.Popen(["tcpdump", "-i", "any", "-s", "0", "-B", "65536", "-Z", "root", "-w", pcap,
                             f"tcp and (host {CLIENT} or host {TARGET})"], stderr=subprocess.PIPE, text=True)
    while "listening on" not in (line := dump.stderr.readline()):
        if not line:
            raise SystemExit("tcpdump did not start")
    log = open(f"{folder}/haproxy.log", "w", encoding="utf-8")
    if proxy == "haproxy":
        with open(f"{folder}/haproxy.cfg", "w", encoding="utf-8") as file:
            file.write(HAPROXY)
        command = ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"]
    else:
        with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(NGINX.replace("FOLDER", folder))
        command = ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
    time.sleep(1.0)
    ask_all(proxy)
    time.sleep(0.6)
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    # What the kernel has gathered is handed over with a delay.
    time.sleep(2.0)
    dump.send_signal(signal.SIGINT)
    _, said = dump.communicate(timeout=10)
    if "\n0 packets dropped by kernel" not in said:
        raise SystemExit(f"packets are missing: {said}")
    log.close()
    with open(pcap, "rb") as source, gzip.GzipFile(f"{out}/{proxy}-unserved-proxy.pcap.gz", "wb", 9, mtime=0) as packed:
        shutil.copyfileobj(source, packed)
    names = {"haproxy": [("haproxy.log", "haproxy-unserved.log")],
             "nginx": [("access.log", "nginx-unserved-access.log"), ("error.log", "nginx-unserved-error.log")]}
    for name, kept in names[proxy]:
        with open(f"{folder}/{name}", encoding="utf-8") as source, open(f"{out}/{kept}", "w", encoding="utf-8") as file:
            # HAProxy's notices about its health checks are no log lines of requests.
            file.writelines(line for line in source if name != "haproxy.log" or " front " in line)
    shutil.rmtree(folder)


def main():
    """Everything in a network namespace of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    if os.environ.get("WHY502_INSIDE") != "1":
        os.environ["WHY502_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    os.makedirs(arguments.out, exist_ok=True)
    run("ip", "link", "set", "lo", "up")
    for address in (PROXY, TARGET, CLIENT):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    serve(GOOD, 0.005)
    serve(SLOW, 0.25)
    for proxy in ("haproxy", "nginx"):
        capture(proxy, arguments.out)


if __name__ == "__main__":
    main()
