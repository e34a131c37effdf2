"""Captures of nginx and wrk, which talk over the loopback of a network namespace of their own."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PORT = 8080
BODIES = 256
BODY = 8192
# Seconds after which a recording ends whatever its size.
LONGEST = 180
# Seconds after which tcpdump must have begun to write.
PATIENCE = 30
# Room for packets that tcpdump has not written yet, KiB.
KERNEL_BUFFER = 524288

NGINX = f"""
user root; daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 4096; }}
http {{
  log_format balancer '$msec $request_time $remote_port $status $request_length $bytes_sent $http_x_amzn_trace_id "$request"';
  access_log ACCESS; server_tokens off; default_type text/plain;
  server {{
    listen 127.0.0.1:{PORT} backlog=4096; root html;
    location = /health {{ return 200 "ok"; }}
  }}
}}
"""
# Each connection waits 3 ms between requests, so that the kernel drops nothing.
KEEP_ALIVE = f"""
local requests, last = {{}}, 0
function init() for body = 0, {BODIES - 1} do requests[body] = wrk.format("GET", "/" .. body) end end
function request() last = (last + 1) % {BODIES}; return requests[last] end
function delay() return 3 end
"""
# The same as a load balancer hands requests on, each with an id.
HANDED_ON = f"""
local last = 0
wrk.headers["X-Forwarded-For"] = "203.0.113.7"
wrk.headers["X-Forwarded-Proto"] = "https"
function request()
  last = last + 1
  wrk.headers["X-Amzn-Trace-Id"] = string.format("Root=1-6a20c001-%024x", last)
  return wrk.format("GET", "/" .. last % {BODIES})
end
function delay() return 3 end
"""
CHECK = """
wrk.headers["Connection"] = "close"
function delay() return 3 end
"""


class Recorder:
    """A namespace with nginx in it. Use with `with`."""

    def __init__(self, directory, body=BODY, logs=False):
        """Bodies have so many bytes; with `logs`, nginx writes `access.log`, and `balancer.log` with what a load
        balancer would know, and requests are as one hands them on."""
        self.body, self.logs = body, logs
        self.directory = Path(directory) / "recording"
        self.name = f"why502-bench-{os.getpid()}"

    def __enter__(self):
        html = self.directory / "html"
        html.mkdir(parents=True, exist_ok=True)
        for number in range(BODIES):
            (html / str(number)).write_text(body(number)[:self.body])
        access = "access.log; access_log balancer.log balancer" if self.logs else "off"
        (self.directory / "nginx.conf").write_text(NGINX.replace("ACCESS", access))
        (self.directory / "keep-alive.lua").write_text(HANDED_ON if self.logs else KEEP_ALIVE)
        (self.directory / "check.lua").write_text(CHECK)
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "-n", self.name, "link", "set", "lo", "up")
            # Segments as they are on Ethernet.
            run("ip", "-n", self.name, "link", "set", "lo", "mtu", "1500", "gso_max_segs", "1")
            run(*self.inside("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000"))
            self.nginx = subprocess.Popen(
                self.inside("nginx", "-p", str(self.directory), "-c", "nginx.conf"),
                stderr=subprocess.DEVNULL,
            )
            time.sleep(0.5)
            if self.nginx.poll() is not None:
                raise SystemExit(f"nginx did not start, see {self.directory}/error.log")
        except BaseException:
            run("ip", "netns", "del", self.name)
            raise
        return self

    def __exit__(self, *_):
        self.nginx.terminate()
        self.nginx.wait()
        run("ip", "netns", "del", self.name)
        shutil.rmtree(self.directory)

    def inside(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def record(self, path, size, connections, checks, timestamps=True):
        """So many keep-alive connections, and so many that check health, until the capture has
        `size` bytes. Without TCP timestamps a packet of a health check has 80 bytes."""
        run(*self.inside("sysctl", "-qw", f"net.ipv4.tcp_timestamps={int(timestamps)}"))
        path.unlink(missing_ok=True)
        log = self.directory / "tcpdump.log"
        with open(log, "w") as errors:
            dump = subprocess.Popen(
                self.inside("tcpdump", "-i", "lo", "-B", str(KERNEL_BUFFER), "-Z", "root",
                            "-s", "0", "-w", str(path), "tcp"), stderr=errors)
        # On a busy machine it takes a while until tcpdump is there.
        until = time.monotonic() + PATIENCE
        while not path.exists() and dump.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if not path.exists():
            dump.kill()
            dump.wait()
            raise SystemExit(f"tcpdump did not begin to write {path}: {log.read_text()}")
        time.sleep(1)
        url = f"http://127.0.0.1:{PORT}"
        users = [
            self.wrk(number, script, url + path)
            for number, script, path in
            [(connections, "keep-alive.lua", ""), (checks, "check.lua", "/health")] if number
        ]
        while path.stat().st_size < size and all(user.poll() is None for user in users):
            time.sleep(0.05)
        for user in users:
            user.send_signal(signal.SIGINT)
            user.wait()
        time.sleep(2)
        dump.send_signal(signal.SIGINT)
        dump.wait()
        dropped = re.search(r"(\d+) packets? dropped by kernel", log.read_text())
        if not dropped or dropped[1] != "0":
            print(f"{path}: {log.read_text()}", file=sys.stderr)

    def wrk(self, connections, script, url):
        return subprocess.Popen(
            self.inside("wrk", "-t1", f"-c{connections}", f"-d{LONGEST}s", "-s",
                        str(self.directory / script), url), stdout=subprocess.DEVNULL)


def body(number):
    """Text as an API answers it: compresses about as well."""
    chance = random.Random(number)
    text = ""
    while len(text) < BODY:
        text += f'{{"id": {chance.randrange(10**9)}, "price": {chance.random():.4f}, "name": "{chance.randbytes(6).hex()}"}},\n'
    return text[:BODY]


def run(*command):
    subprocess.run(command, check=True)
