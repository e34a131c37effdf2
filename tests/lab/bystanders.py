"""Traffic that looks like health checks, but is none of a load balancer: nothing of it may be called one.

Its truth is in `bystanders`: who sent it, and what it is.
"""

import contextlib
import random
import socket
import subprocess
import time

from client import Client, together
from prober import LINGER_0
from scenario import scenario
from world import MONITOR, OFFICE, PORT, STRANGER, TARGET

DIRECT = {"proxies": ("direct",)}
FIREFOX = ("User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
           "Accept-Language: en-GB,en;q=0.5", "Accept-Encoding: gzip, deflate", "Connection: keep-alive")
PAGE = ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Upgrade-Insecure-Requests: 1")
FETCH = ("Accept: application/json", "Origin: https://shop.example", "Referer: https://shop.example/cart")
SCANNED = (21, 22, 23, 25, 80, 81, 110, 143, 443, 445, 3000, 3306, 3389, 5432, 5900, 6379, 8000, 8008, 8080, 8443,
           8888, 9000, 9090, 9200, 27017)


class Caller:
    """A connection whose requests are written word for word."""

    def __init__(self, source, port=PORT):
        self.client = Client((TARGET, port), 5.0, (source, 0))

    def ask(self, method, target, *fields, host=f"{TARGET}:{PORT}"):
        """Send a request and read its answer."""
        text = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]) + "\r\n\r\n"
        self.client.sock.sendall(text.encode())
        return self.client.read(Answer(method))

    def close(self):
        """End the connection."""
        self.client.close()


class Answer:
    """What `Client.read` fills in."""

    def __init__(self, method):
        self.method, self.status, self.body, self.end = method, None, b"", "complete"


def bystander(lab, what, source, port=PORT):
    """Take down in the truth who this is."""
    lab.bystanders.append({"what": what, "sources": [source], "server": {"ip": TARGET, "port": port} if port else None})


def refused(lab, count):
    """Take down that so many connections were refused: that they failed is true, whoever made them."""
    cause = {"lb": "connect-refused", "target": "connect-refused"}
    lab.connections.append({"cause": cause, "count": count, "requests": []})


def visit(lab, dice):
    """A browser opens connections ahead, loads a page over some of them, asks before a cross-origin request, and
    closes them at times of its own; some it never used."""
    ahead = [Caller(OFFICE) for _ in range(dice.choice((2, 3, 3, 4)))]
    page, spare = ahead[0], ahead[1:]
    page.ask("GET", "/", *FIREFOX, *PAGE, host="shop.example")
    for number in range(dice.randint(2, 5)):
        time.sleep(dice.uniform(0.01, 0.2))
        page.ask("GET", f"/static/{number}.js", *FIREFOX, "Accept: */*", "Referer: http://shop.example/",
                 host="shop.example")
    used = spare.pop()
    used.ask("OPTIONS", "/api/cart", *FIREFOX, "Accept: */*", "Origin: https://shop.example",
             "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: content-type", host="api.example")
    used.ask("PUT", "/api/cart", *FIREFOX, *FETCH, "Content-Length: 0", host="api.example")
    for connection in (page, used, *spare):
        time.sleep(dice.uniform(0.05, 0.9))
        connection.close()


@scenario("browsers", more=(OFFICE,), healthy=True, quick=True, **DIRECT)
def browsers(lab):
    """Browsers with connections opened ahead, some never used, and preflight requests."""
    bystander(lab, "browser", OFFICE)
    dice = random.Random(4)
    for _ in range(4):
        visit(lab, dice)
        time.sleep(dice.uniform(0.1, 0.9))
    # A page that is left at once: connections without a request.
    for _ in range(5):
        time.sleep(dice.uniform(0.1, 0.8))
        Caller(OFFICE).close()


@scenario("port-scan", more=(STRANGER,), healthy=True, **DIRECT)
def port_scan(lab):
    """A scan of many ports by connect, and questions to find out what answers on the open one."""
    bystander(lab, "scan", STRANGER, None)
    refused(lab, 2 * (len(SCANNED) - 1))
    for ports, hard in ((SCANNED, False), (SCANNED, True)):
        for port in ports:
            with contextlib.suppress(OSError), socket.socket() as sock:
                sock.bind((STRANGER, 0))
                sock.settimeout(2.0)
                sock.connect((TARGET, port))
                if hard:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            time.sleep(0.02)
    for question in (b"\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"OPTIONS / HTTP/1.0\r\n\r\n",
                     b"OPTIONS / RTSP/1.0\r\n\r\n", b"GET /nice%20ports HTTP/1.0\r\n\r\n", b"HELP\r\n"):
        with contextlib.suppress(OSError), socket.create_connection((TARGET, PORT), 2.0, (STRANGER, 0)) as sock:
            sock.sendall(question)
            sock.settimeout(0.6)
            sock.recv(4096)


def every(seconds, count, act):
    """Do something at a steady pace."""
    due = time.monotonic()
    for _ in range(count):
        act()
        due += seconds
        time.sleep(max(0.0, due - time.monotonic()))


def cron(_lab):
    """curl, started by cron."""
    every(2.0, 7, lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", "--interface", MONITOR,
                                          f"http://{TARGET}:{PORT}/health"], check=True, timeout=5))


def page_that_polls(_lab):
    """A page of one application that asks for news each second."""
    caller = Caller(OFFICE)
    every(1.0, 13, lambda: caller.ask("GET", "/api/notifications?since=1795262400", *FIREFOX, *FETCH,
                                      host="shop.example"))
    caller.close()


def prometheus(_lab):
    """Prometheus reads the application's figures."""
    caller = Caller("192.0.2.91")
    every(1.0, 13, lambda: caller.ask(
        "GET", "/metrics", "User-Agent: Prometheus/2.53.1",
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "Accept-Encoding: gzip", "X-Prometheus-Scrape-Timeout-Seconds: 1"))
    caller.close()


def shipper(_lab):
    """A log shipper tries again and again to reach a port that is closed."""
    def attempt():
        with contextlib.suppress(OSError):
            socket.create_connection((TARGET, 5044), 2.0, ("192.0.2.92", 0)).close()

    every(1.0, 13, attempt)


@scenario("pollers", needs=("curl",), more=(OFFICE, MONITOR, "192.0.2.91", "192.0.2.92"), healthy=True, **DIRECT)
def pollers(lab):
    """All that asks at a steady pace: curl from cron, a page that polls, Prometheus, and a log shipper whose port is
    closed."""
    bystander(lab, "cron", MONITOR)
    bystander(lab, "page", OFFICE)
    bystander(lab, "metrics", "192.0.2.91")
    bystander(lab, "reconnect", "192.0.2.92", 5044)
    refused(lab, 13)
    together([lambda: cron(lab), lambda: page_that_polls(lab), lambda: prometheus(lab), lambda: shipper(lab)])
