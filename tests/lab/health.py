"""Scenarios with health checkers and a target whose ways of being out follow a plan.

Their truth is in `probers`: for each check what the prober itself logged, and the states that it gave the target.
"""

import time

from client import Client
from probing import fleet, outage, play
from prober import Settings
from scenario import scenario
from world import NODES, PORT, TARGET

DIRECT = {"proxies": ("direct",)}
ALB = ["aws-alb"]
NLB = ["aws-nlb"]
TCP, TLS = ["tcp"], ["tls"]  # nothing in the packets says whose checks these are


@scenario("alb-answers", more=NODES[1:2], quick=True, **DIRECT)
def alb_answers(lab):
    """Two ALB nodes check a target that refuses, answers 503, and is too slow."""
    fleet(lab, ALB, Settings("alb"), NODES[:2])
    play(lab, ["refused", "app-503", "slow"])


@scenario("alb-endings", more=NODES[1:2], **DIRECT)
def alb_endings(lab):
    """Two ALB nodes check a target that resets, closes, answers garbage, redirects, and hangs."""
    fleet(lab, ALB, Settings("alb"), NODES[:2])
    play(lab, ["read-rst", "read-fin", "garbage", "bad-status", "redirect", "hung"])


@scenario("alb-silence", more=NODES[1:2], **DIRECT)
def alb_silence(lab):
    """Two ALB nodes whose SYNs are lost, in the network, at the target's firewall, in a full accept queue, and
    whose answers are lost."""
    fleet(lab, ALB, Settings("alb"), NODES[:2])
    play(lab, ["net-drop", "host-drop", "clogged", "synack-lost"])


@scenario("nlb-http", more=NODES[1:], **DIRECT)
def nlb_http(lab):
    """Three NLB nodes check by consensus, more often than configured; a redirect passes."""
    fleet(lab, NLB, Settings("nlb", path="/", matcher="200-399"), NODES)
    play(lab, ["refused", "redirect", "app-503", "read-fin"])


@scenario("nlb-tcp", more=NODES[1:], **DIRECT)
def nlb_tcp(lab):
    """Three NLB nodes check by handshake and FIN; what the application answers does not matter."""
    fleet(lab, TCP, Settings("nlb", "tcp"), NODES)
    play(lab, ["refused", "app-503", "host-drop", "hung"])


@scenario("nlb-tcp-reset", more=NODES[1:2], quick=True, **DIRECT)
def nlb_tcp_reset(lab):
    """Two nodes check by handshake and RST."""
    fleet(lab, TCP, Settings("nlb", "tcp", close="rst"), NODES[:2])
    play(lab, ["refused", "clogged"])


@scenario("nlb-tls-listener", more=NODES[1:2], **DIRECT)
def nlb_tls_listener(lab):
    """NLB nodes check over HTTP, and besides test the connections of a TLS listener with connections that carry
    no data."""
    fleet(lab, NLB, Settings("nlb", matcher="200-399"), NODES[:2])
    fleet(lab, TCP, Settings("nlb", "none", interval=1.7, timeout=1.0), NODES[:2])
    play(lab, ["app-503", "sluggish"])


@scenario("nlb-https", more=NODES[1:2], tls={"target": {}}, **DIRECT)
def nlb_https(lab):
    """NLB nodes check over HTTPS; after the handshake all is encrypted."""
    fleet(lab, TLS, Settings("nlb", "https", matcher="200-399", timeout=0.45), NODES[:2])
    play(lab, ["refused", "net-drop"])


@scenario("nlb-https-tls13-only", more=NODES[1:2], tls={"target": {"min": "1.3"}}, **DIRECT)
def nlb_https_tls13_only(lab):
    """NLB nodes check over HTTPS a target that speaks only TLS 1.3, which their checks cannot."""
    fleet(lab, TLS, Settings("nlb", "https", matcher="200-399", timeout=0.45), NODES[:2])
    play(lab, [], well=4.0)


@scenario("nlb-https-stall", backend=("--tls", "stall"), **DIRECT)
def nlb_https_stall(lab):
    """An NLB node checks over HTTPS a target that acknowledges the ClientHello and stays silent."""
    fleet(lab, TLS, Settings("nlb", "https", matcher="200-399", timeout=0.45))
    play(lab, [], well=4.0)


@scenario("kubelet", quick=True, **DIRECT)
def kubelet(lab):
    """A kubelet's readiness probe: one pass makes ready, three failures in a row make unready."""
    fleet(lab, ["kubelet"], Settings("kubelet", path="/healthz", matcher="200-399", healthy=1, unhealthy=3))
    play(lab, ["app-503", "hung", "refused"], 2.3, 1.5)


@scenario("alb-real-time", more=NODES[1:2], **DIRECT)
def alb_real_time(lab):
    """Two ALB nodes with settings that an ALB takes: interval 5 s, time-out 2 s, 2 passes, 2 failures."""
    fleet(lab, ALB, Settings("alb", interval=5.0, timeout=2.0, healthy=2, unhealthy=2), NODES[:2])
    play(lab, ["net-drop", "app-503"], out=13.0, well=14.0)


@scenario("alb-one-zone", more=NODES[1:2], **DIRECT)
def alb_one_zone(lab):
    """Of two ALB nodes one cannot reach the target: the network of its zone drops what it sends."""
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    time.sleep(2.3)
    lab.world.rule(do="drop", way="to-target", what="syn", source=NODES[1])
    time.sleep(3.0)
    lab.world.clear_rules()
    time.sleep(2.3)
    group.stop()


@scenario("alb-flapping", more=NODES[1:2], **DIRECT)
def alb_flapping(lab):
    """A target that is out for a second again and again, and slow in between, close to the time-out."""
    fleet(lab, ALB, Settings("alb", healthy=2), NODES[:2])
    play(lab, ["app-503", "sluggish", "app-503", "app-503", "sluggish"], out=1.3, well=1.4)


@scenario("alb-never-healthy", **DIRECT)
def alb_never_healthy(lab):
    """A new target whose checks have never passed: the path does not exist."""
    lab.world.backend.tell("mode 404")
    fleet(lab, ALB, Settings("alb", path="/helth"))
    play(lab, [], well=3.0)


def visitors(lab, seconds, nodes, fault=None, pause=0.16):
    """Users whose requests come through the nodes on kept connections, as an ALB forwards them; when one fails,
    a new connection is opened, as an ALB would."""
    end, number, clients = time.monotonic() + seconds, 0, {}
    while time.monotonic() < end:
        node = nodes[number % len(nodes)]
        number += 1
        headers = ("X-Forwarded-For: 203.0.113.%d" % (number % 200 + 1), "X-Forwarded-Proto: https",
                   "X-Forwarded-Port: 443", f"X-Amzn-Trace-Id: Root=1-67891233-{number:024x}")
        try:
            clients[node] = clients.get(node) or Client((TARGET, PORT), 15.0, (node, 0))
        except OSError:
            time.sleep(pause)
            continue
        seen = lab.ask("orders", "api", fault=fault, client=clients[node], headers=headers)
        if seen.end != "complete":
            clients.pop(node).close()
        time.sleep(pause)
    for client in clients.values():
        client.close()


@scenario("alb-with-users", more=NODES[1:2], **DIRECT)
def alb_with_users(lab):
    """Checks between the requests of users, which the same nodes forward; one user asks for the checks' path."""
    group = fleet(lab, ALB, Settings("alb", path="/h/ok/check"), NODES[:2]).start()
    for _ in range(3):
        visitors(lab, 1.5, NODES[:2])
        lab.ask("ok", client=None, headers=("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"))
    group.stop()


@scenario("fail-open", more=NODES[1:2], **DIRECT)
def fail_open(lab):
    """All checks of all targets fail with 503, so the load balancer sends its users to them all the same."""
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    visitors(lab, 2.0, NODES[:2])
    with outage(lab, "app-503"):
        visitors(lab, 4.0, NODES[:2])
    group.stop()


@scenario("passive-lead", more=NODES[1:2], **DIRECT)
def passive_lead(lab):
    """The application breaks: users' requests fail at once, the next check comes later and notices then."""
    group = fleet(lab, ALB, Settings("alb", interval=1.5, timeout=0.5, healthy=2), NODES[:2], spread=False).start()
    visitors(lab, 3.4, NODES[:2])
    lab.world.backend.tell("mode-all read-fin")
    begin = time.time()
    visitors(lab, 4.0, NODES[:2], "read-fin")
    lab.outages.append({"what": "read-fin", "begin": begin, "end": time.time()})
    lab.world.backend.tell("mode-all -")
    visitors(lab, 3.5, NODES[:2])
    group.stop()


@scenario("checks-stop", more=NODES[1:2], **DIRECT)
def checks_stop(lab):
    """The checks stop, the traffic of the users goes on."""
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    visitors(lab, 3.0, NODES[:2])
    group.stop()
    lab.notes["checks_stop"] = time.time()
    visitors(lab, 5.0, NODES[:2])
