"""Scenarios in which nothing fails, and the demo in which a little does.

A tool that finds a failure in the healthy ones is wrong.
"""

import random
import time

from client import Seen, sleep_until, together
from scenario import ALL, STATUS, BOTH, scenario

EVERYDAY = ["length", "length", "empty", "chunked", "chunked", "trailers", "204", "304", "404", "until-close", "close",
            "http10", "large", "drip", "HEAD", "POST", "100", "length", "empty", "chunked"]
CHECK = "check inter 400ms fall 3 rise 1"


SHOP = ("orders", "orders", "products", "products", "session", "avatar", "coupon", "search", "POST", "HEAD")


def shop(lab, name):
    """One healthy request of the demo."""
    if name in ("POST", "HEAD"):
        return lab.ask("orders", "api", name, body=b"item=42&count=1" if name == "POST" else b"")
    return lab.ask(name, "api")


def visit(lab, shape, client=None):
    """One healthy request of a shape; "HEAD" and "POST" are shapes of the request."""
    if shape == "HEAD":
        return lab.ask("length", method="HEAD", client=client)
    if shape == "POST":
        return lab.ask("length", method="POST", body=b"field=value&" * 50, client=client)
    if shape == "100":
        return lab.ask("100", method="POST", body=b"late body", headers=("Expect: 100-continue",), client=client)
    return lab.ask(shape, client=client)


def crowd(lab, visitors, visits, seed=1, shapes=tuple(EVERYDAY), ask=visit):
    """Several visitors at once, each making requests on new client connections with small pauses."""
    def visitor(number):
        dice = random.Random(seed * 100 + number)
        for _ in range(visits):
            ask(lab, dice.choice(shapes))
            time.sleep(dice.uniform(0, 0.05))

    together([lambda n=n: visitor(n) for n in range(visitors)])


@scenario("healthy-mixed", proxies=ALL, healthy=True, proxy={"server": 10.0})
def healthy_mixed(lab):
    """Some hundred healthy requests of all shapes through a keep-alive pool."""
    crowd(lab, 6, 35)


@scenario("healthy-small", proxies=ALL, healthy=True, quick=True, proxy={"server": 10.0})
def healthy_small(lab):
    """Each healthy shape once or twice."""
    for shape in sorted(set(EVERYDAY)):
        visit(lab, shape)
    crowd(lab, 3, 5)


@scenario("healthy-close", healthy=True, backend=("--idle", "0.5"))
def healthy_close(lab):
    """One-shot connections, and idle connections that the backend closes in peace."""
    for shape in ("close", "until-close", "http10"):
        visit(lab, shape)
    for _ in range(3):
        together([lambda: visit(lab, "length"), lambda: visit(lab, "chunked"), lambda: visit(lab, "drip")])
        time.sleep(1.0)


@scenario("healthy-slow", healthy=True, proxy={"server": 10.0})
def healthy_slow(lab):
    """Slow answers and long polls that are answered in the end; clients that leave after their answer."""
    together([lambda: visit(lab, "poll"), lambda: visit(lab, "poll"), lambda: visit(lab, "slow"),
              lambda: visit(lab, "two-parts"), lambda: visit(lab, "drip")])


def chat(lab):
    """A WebSocket connection: upgrade, a few opaque messages and their echo, close."""
    client = lab.client()
    lab.ask("ws", client=client, headers=("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    for size in (2, 120, 700, 30):
        message = bytes((n * 7 + size) % 256 for n in range(size))
        client.sock.sendall(message)
        got = b""
        while len(got) < size:
            got += client.sock.recv(4096)
        time.sleep(0.1)
    client.sock.recv(1)  # the backend closes after four messages
    client.close()


@scenario("healthy-websocket", healthy=True)
def healthy_websocket(lab):
    """WebSocket connections between ordinary requests."""
    visit(lab, "length")
    together([lambda: chat(lab), lambda: chat(lab)])
    visit(lab, "length")


@scenario("healthy-early-hints", proxies=("haproxy",), healthy=True)
def healthy_early_hints(lab):
    """103 Early Hints and 100 Continue before the final answer."""
    for shape in ("103", "100", "103", "length"):
        visit(lab, shape)


def checked(uri, lab):
    """Ordinary traffic between HAProxy's own checks."""
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        visit(lab, "length")
        time.sleep(0.15)
    if uri:
        lab.ask("length")


@scenario("healthy-tcp-check", proxies=("haproxy",), healthy=True, proxy={"check": CHECK}, quick=True)
def healthy_tcp_check(lab):
    """HAProxy's TCP checks: a handshake that it resets at once."""
    checked(None, lab)


@scenario("healthy-http-check", proxies=("haproxy",), healthy=True,
          proxy={"check": CHECK, "location": "option httpchk GET /health"})
def healthy_http_check(lab):
    """HAProxy's HTTP checks with a short answer."""
    checked("/health", lab)


@scenario("healthy-check-reset", proxies=("haproxy",), healthy=True,
          proxy={"check": CHECK, "location": "option httpchk GET /h/two-parts/health"})
def healthy_check_reset(lab):
    """HAProxy's HTTP checks of a large page: it has seen the status and resets the rest."""
    checked("/h/two-parts/health", lab)


@scenario("healthy-lossy", proxies=BOTH, healthy=True, proxy={"server": 10.0})
def healthy_lossy(lab):
    """Healthy requests over a path that loses, doubles and reorders a few packets: TCP repairs it."""
    for way in ("to-lb", "to-target"):
        lab.world.rule(do="drop", way=way, what="data", every=41)
        lab.world.rule(do="twice", way=way, what="data", every=29)
        lab.world.rule(do="hold", way=way, what="data", every=13, extra=0.006)
    crowd(lab, 4, 20, seed=7)


@scenario("healthy-direct", proxies=("direct",), healthy=True, quick=True)
def healthy_direct(lab):
    """A client without proxy: pipelined requests, and connections opened ahead on which nothing is sent."""
    for shape in ("length", "chunked", "103", "204"):
        visit(lab, shape)
    client = lab.client()
    pending = []
    for shape in ("length", "chunked", "204", "empty", "304", "trailers", "length", "404"):
        target = f"/h/{shape}/{lab.world.new_id()}"
        pending.append((lab.record(None, target, expected=STATUS.get(shape, 200)), shape, target))
    client.sock.sendall(b"".join(client.request_bytes("GET", target) for _, _, target in pending))
    for entry, _, target in pending:
        entry["seen"] = client.read(Seen(entry["id"], target, "GET"))
    client.close()
    ahead = [lab.client() for _ in range(3)]
    time.sleep(0.3)
    visit(lab, "length", ahead[0])
    for connection in ahead:
        connection.close()


@scenario("healthy-preconnect", proxies=("direct",), healthy=True, backend=("--idle", "0.6"))
def healthy_preconnect(lab):
    """Connections opened ahead; nothing is sent, and in the end the backend closes them."""
    ahead = [lab.client() for _ in range(3)]
    visit(lab, "length")
    time.sleep(1.2)
    for connection in ahead:
        connection.close()


@scenario("healthy-tls", healthy=True, tls={"target": {}, "lb": {}})
def healthy_tls(lab):
    """Healthy requests over TLS to the backend."""
    crowd(lab, 3, 8, seed=9)


@scenario("healthy-tuple-reuse", healthy=True, port_range="20000 20000")
def healthy_tuple_reuse(lab):
    """The load balancer forgot a connection and uses its port again: the target answers the SYN with a plain
    ACK, the RST to this clears the old connection, and the next SYN succeeds."""
    visit(lab, "length")
    time.sleep(0.2)
    lab.world.forget_sockets("lb")
    time.sleep(0.2)
    visit(lab, "length")


DEMO_IDLE = 5.0


@scenario("demo", proxies=("nginx",), backend=("--idle", str(DEMO_IDLE)), proxy={"server": 10.0})
def demo(lab):
    """A day in a minute: 399 healthy requests, 11 keep-alive races against a backend that closes idle
    connections after 5 s (the default of Node.js), one refused connection while it restarts, one request
    too slow for the load balancer."""
    healthy, races = 399, 11
    hits, sent = 0, 0
    seed = 20
    while hits < races and seed < 28:
        seed += 1
        crowd(lab, 5, 14, seed, SHOP, shop)
        sent += 70
        count = min(4, races - hits)

        def pair():
            lab.ask("search", "api")
            sleep_until(time.monotonic() + DEMO_IDLE - 0.025)
            return lab.ask("orders", "api", fault="race-fin").status != 200

        time.sleep(0.2)
        hits += sum(together([pair] * count))
        sent += count
    lab.ask("report", "api", fault="no-response")
    time.sleep(DEMO_IDLE + 0.3)
    lab.world.backend.tell("unlisten")
    lab.ask("orders", "api", fault="refused", connect=True)
    lab.world.backend.tell("listen")
    for _ in range(max(0, healthy - sent)):
        shop(lab, "products")
