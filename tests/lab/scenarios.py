"""The scenarios with faults of established connections.  See also connecting.py, healthy.py and checks.py."""

import signal
import time

from client import sleep_until, together
from scenario import ALL, SCENARIOS, Scenario, scenario
from world import LabError

BIG_POST = {"early-413": 200_000, "post-fin": 60_000, "post-rst": 60_000, "zero-window": 200_000}
STALLS = {"headers-stall", "no-response", "body-stall", "chunked-stall", "zero-window"}
QUICK = {"read-fin", "read-rst", "headers-fin", "body-fin", "chunked-bad", "bad-status", "no-response", "app-503"}
IDLE = 1.0
# Seconds by which timers differ only if their host had no time for them.
LATE = 0.02
ROUND_TRIP = 0.05


def times_out(apart, ask):
    """Three requests, so many seconds apart, that the load balancer gives up by its timer. That each waits equally
    long tells the timer: on a machine that stalls meanwhile they do not."""
    def timed(wait):
        time.sleep(wait)
        began = time.monotonic()
        ask()
        return time.monotonic() - began

    waited = together([lambda wait=n * apart: timed(wait) for n in range(3)])
    # The first may have a connection that is open already, and saves the time that it takes to open one.
    new = sorted(waited[1:])
    if new[1] - new[0] > LATE or abs(waited[0] - new[0]) > LATE + ROUND_TRIP:
        raise LabError("the balancer's timer ran late: " + ", ".join(f"{wait:.3f} s" for wait in waited))


def standard(fault):
    """The scenario for a fault of the backend: on a used connection and on a new one,
    with healthy requests around it."""
    method, body = ("POST", b"x" * BIG_POST[fault]) if fault in BIG_POST else ("GET", b"")

    def play(lab):
        lab.ask()
        if fault == "no-response":
            times_out(0.15, lambda: lab.fail(fault, method, body=body))
        elif fault in STALLS:
            together([lambda wait=n * 0.15: (time.sleep(wait), lab.fail(fault, method, body=body)) for n in range(3)])
        else:
            lab.fail(fault, method, body=body)
            lab.fail(fault, method, body=body)
        lab.ask()

    options = {"backend": ("--rcvbuf", "8192")} if fault == "zero-window" else {}
    return Scenario(fault, play, description=FAULTS[fault], proxies=ALL, quick=fault in QUICK, **options)


FAULTS = {
    "read-fin": "The backend reads the request and closes.",
    "think-fin": "The backend reads the request, thinks for 300 ms and closes.",
    "read-rst": "The backend closes with the request unread: the kernel sends RST.",
    "think-rst": "The backend reads the request, thinks for 300 ms and aborts.",
    "status-fin": "The answer ends with FIN in the status line.",
    "status-rst": "The answer ends with RST in the status line.",
    "headers-fin": "The answer ends with FIN in the header section.",
    "headers-rst": "The answer ends with RST in the header section.",
    "headers-stall": "The answer stops in the header section; the balancer gives up after 3 s.",
    "no-response": "No answer at all; the balancer gives up after 3 s.",
    "body-fin": "The body is shorter than its Content-Length, then FIN.",
    "body-rst": "The body is shorter than its Content-Length, then RST.",
    "chunked-fin": "The last chunk is missing, FIN.",
    "chunked-rst": "The last chunk is missing, RST.",
    "chunked-cut": "FIN in the middle of a chunk.",
    "until-close-rst": "A body that ends with the connection, ended by RST.",
    "body-stall": "The body stops half-way; the balancer gives up after 3 s.",
    "chunked-stall": "The chunks stop; the balancer gives up after 3 s.",
    "chunked-bad": "A good chunk, then something which is no chunk size.",
    "bad-status": "A status line with the status 2x0.",
    "garbage": "Bytes that are no text at all.",
    "http09": "Text without status line and header, as in HTTP/0.9.",
    "bad-name-space": "A space in a field name.",
    "bad-no-colon": "A header line without a colon.",
    "bad-name-ctl": "A control character in a field name.",
    "bad-two-lengths": "Two different Content-Lengths.",
    "bad-length": "A negative Content-Length.",
    "bad-te": "An unknown transfer coding.",
    "headers-huge": "A header section of 90 kB.",
    "tls-alert": "A TLS alert answers a request in clear.",
    "h2-answer": "An HTTP/2 SETTINGS frame answers an HTTP/1.1 request.",
    "zero-window": "The backend does not read; the request's body fills the receive window.",
    "early-413": "A complete 413 and a close while the body is still coming: RST follows the answer.",
    "post-fin": "FIN in the middle of the request's body.",
    "post-rst": "RST in the middle of the request's body.",
    "app-500": "The backend's own complete 500.",
    "app-502": "The backend's own complete 502.",
    "app-503": "The backend's own complete 503.",
    "app-504": "The backend's own complete 504.",
}
for _name in FAULTS:
    SCENARIOS[_name] = standard(_name)


@scenario("accept-close", backend=("--on-accept", "close"), proxies=ALL)
def accept_close(lab):
    """The backend closes each connection as soon as it has accepted it."""
    for _ in range(3):
        lab.ask(fault="accept-close")


@scenario("accept-late-close", backend=("--on-accept", "late-close"), proxies=ALL)
def accept_late_close(lab):
    """The backend accepts, waits 200 ms and closes without reading: the kernel sends RST."""
    for _ in range(3):
        lab.ask(fault="accept-late-close")


@scenario("queue-rst", backend=("--on-accept", "never"))
def queue_rst(lab):
    """Requests wait in connections that nobody accepts, then the backend dies."""
    together([lambda: lab.ask(fault="queue-rst"), lambda: lab.ask(fault="queue-rst"),
              lambda: (time.sleep(0.8), lab.world.backend.tell("unlisten"))])


@scenario("queue-stall", backend=("--on-accept", "never"))
def queue_stall(lab):
    """Requests wait in connections that nobody accepts until the load balancer gives up."""
    times_out(0.2, lambda: lab.ask(fault="queue-stall"))


def crossing(lab, fault, count, offset, clients=None):
    """`count` connections fall idle, and the next requests leave `offset` seconds before the end of the idle
    time as the load balancer sees it: later than the backend's FIN left, earlier than it arrives."""
    clients = clients or [None] * count
    shift = IDLE + offset

    def one(client):
        lab.ask(client=client)
        idle_since = time.monotonic()
        sleep_until(idle_since + shift)
        return lab.ask(fault=fault, client=client)

    return together([lambda client=client: one(client) for client in clients])


def race(lab, fault, count=3):
    """Repeat with other offsets until requests have failed at least once."""
    hits = 0
    for offset in (-0.025, -0.018, -0.032, -0.010, -0.040):
        hits += sum(seen.status != 200 for seen in crossing(lab, fault, count, offset))
        time.sleep(0.3)
        if hits >= count:
            lab.ask()
            return
    if not hits:
        raise LabError("no request crossed the end of its connection")


@scenario("race-fin", backend=("--idle", str(IDLE)), proxies=ALL, quick=True)
def race_fin(lab):
    """The keep-alive race: the backend's FIN at the end of its idle time crosses the next request."""
    race(lab, "race-fin")


@scenario("race-rst", backend=("--idle", str(IDLE), "--idle-action", "rst"), proxies=ALL)
def race_rst(lab):
    """The keep-alive race with a RST: the backend aborts idle connections."""
    race(lab, "race-rst")


@scenario("race-cap", backend=("--idle", "0.012"))
def race_cap(lab):
    """The backend closes 12 ms after each answer, without having said so; the next request is on its way then."""
    for _ in range(3):
        client = lab.client()
        lab.ask(client=client)
        client.close()
        lab.ask(fault="race-cap")
        time.sleep(0.2)


@scenario("race-retried", backend=("--idle", str(IDLE)),
          proxy={"next_upstream": "error timeout", "retries": "1\n    retry-on conn-failure empty-response"})
def race_retried(lab):
    """The keep-alive race, but the proxy sends the request again on a new connection: its client sees nothing."""
    for _ in range(2):
        crossing(lab, "race-retried", 2, -0.025)


@scenario("race-silent", backend=("--idle", str(IDLE)), proxies=("haproxy", "apache"))
def race_silent(lab):
    """The keep-alive race on client connections that are kept alive too: the proxy may just close them."""
    for _ in range(3):
        clients = [lab.client() for _ in range(2)]
        crossing(lab, "race-silent", 2, -0.025, clients)
        for client in clients:
            client.close()


@scenario("late-408", backend=("--idle", str(IDLE), "--idle-action", "408"), proxies=ALL, quick=True)
def late_408(lab):
    """The backend says 408 and closes an idle connection; this crosses the next request, whose answer it becomes."""
    race(lab, "late-408")


@scenario("stray-answer", backend=("--idle", str(IDLE), "--idle-action", "stray"))
def stray_answer(lab):
    """The backend sends an answer nobody asked for on an idle connection; it crosses the next request."""
    race(lab, "stray-answer")


@scenario("stale-rst", proxies=ALL, quick=True)
def stale_rst(lab):
    """A middlebox forgot the idle connection: it answers the next request with RST, the target sees nothing."""
    lab.world.rule(do="rst", way="to-target", what="data", idle=0.8)
    for _ in range(2):
        together([lab.ask, lab.ask])
        time.sleep(1.2)
        together([lambda: lab.ask(fault="stale-rst")] * 2)
    lab.ask()


@scenario("stale-host")
def stale_host(lab):
    """The target host lost its connections without a word (as by a power cut): bare RST to the next request."""
    together([lab.ask, lab.ask])
    time.sleep(0.3)
    lab.world.forget_sockets("target")
    together([lambda: lab.ask(fault="stale-host")] * 2)
    lab.ask()


@scenario("stale-drop", proxies=ALL)
def stale_drop(lab):
    """A firewall forgot the idle connection and drops its packets without a word."""
    lab.world.rule(do="cut", way="to-target", what="data", idle=0.8)
    together([lab.ask, lab.ask])
    time.sleep(1.2)
    together([lambda: lab.ask(fault="stale-drop")] * 2)
    lab.ask()


@scenario("unacked", quick=True)
def unacked(lab):
    """The handshake works, then the network loses all that the load balancer sends."""
    lab.ask()
    lab.world.rule(do="cut", way="to-target", contains="/lost")
    together([lambda: lab.ask(fault="unacked", suffix="/lost")] * 3)


@scenario("return-cut")
def return_cut(lab):
    """The request arrives, but from then on nothing comes back from the target."""
    lab.ask()
    lab.world.rule(do="cut", cut_way="to-lb", way="to-target", contains="/lost")
    together([lambda: lab.ask(fault="return-cut", suffix="/lost")] * 2)


@scenario("mtu-up", quick=True)
def mtu_up(lab):
    """Packets over 1000 bytes towards the target disappear without ICMP."""
    lab.ask()
    lab.world.rule(do="drop", way="to-target", larger=1000)
    fill = ("X-Fill: " + "f" * 1900,)
    together([lambda: lab.ask(fault="mtu-up", headers=fill),
              lambda: lab.ask(fault="mtu-up", method="POST", body=b"p" * 5000)])
    lab.ask()


@scenario("mtu-post", proxies=("haproxy",))
def mtu_post(lab):
    """The head of a POST arrives in a small packet; the body's full-size packets disappear without ICMP."""
    lab.ask()
    lab.world.rule(do="drop", way="to-target", larger=1000)
    together([lambda: lab.ask(fault="mtu-post", method="POST", body=b"p" * 5000, pause=0.2)] * 2)
    lab.ask()


@scenario("mtu-down")
def mtu_down(lab):
    """Packets over 1000 bytes towards the load balancer disappear without ICMP."""
    lab.ask("empty")
    lab.world.rule(do="drop", way="to-lb", larger=1000)
    together([lambda: lab.ask("large", fault="mtu-down"), lambda: lab.ask("medium", fault="mtu-down")])
    lab.ask("empty")


@scenario("injected-rst")
def injected_rst(lab):
    """A box on the path does not like a request and resets both ends in the name of the other."""
    lab.ask()
    lab.world.rule(do="rst-both", way="to-target", contains="/forbidden")
    for _ in range(3):
        lab.ask("slow", fault="injected-rst", suffix="/forbidden")
    lab.ask()


def leave(lab, after):
    """A client that sends a request and goes away before the answer."""
    client = lab.client()
    target = f"/h/poll/{lab.world.new_id()}"
    lab.record("client-abort", target)
    client.sock.sendall(client.request_bytes("GET", target))
    time.sleep(after)
    client.close()


@scenario("client-abort", proxy={"server": 10.0}, quick=True)
def client_abort(lab):
    """Clients go away while the backend is thinking, each after another time."""
    lab.ask()
    together([lambda t=t: leave(lab, t) for t in (1.37, 0.83, 2.11)])
    lab.ask()


@scenario("lb-cut", proxy={"server": 10.0}, quick=True)
def lb_cut(lab):
    """The load balancer's operator cuts all connections to the target while requests are outstanding:
    HAProxy by `shutdown sessions server`, nginx by a fast stop."""
    lab.ask()
    def cut():
        if lab.proxy.name == "haproxy":
            lab.proxy.admin("shutdown sessions server back/t1")
        else:
            lab.proxy.stop()

    waits = [lambda wait=n * 0.31: (time.sleep(wait), lab.ask("poll", fault="lb-cut")) for n in range(4)]
    together([*waits, lambda: (time.sleep(1.7), cut())])


@scenario("lb-stop", proxies=("haproxy",), proxy={"server": 10.0})
def lb_stop(lab):
    """The load balancer's process is stopped hard while requests are outstanding; nothing is logged."""
    lab.ask()
    waits = [lambda wait=n * 0.31: (time.sleep(wait), lab.ask("poll", fault="lb-stop")) for n in range(4)]
    together([*waits, lambda: (time.sleep(1.7), lab.proxy.stop())])


@scenario("lb-reload", proxies=("nginx",), proxy={"server": 10.0, "main": "worker_shutdown_timeout 500ms;"})
def lb_reload(lab):
    """nginx is reloaded, and its old worker cuts what is still outstanding after worker_shutdown_timeout."""
    lab.ask()
    waits = [lambda wait=n * 0.23: (time.sleep(wait), lab.ask("poll", fault="lb-reload")) for n in range(4)]
    together([*waits, lambda: (time.sleep(1.1), lab.proxy.process.send_signal(signal.SIGHUP))])
