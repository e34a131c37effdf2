"""Scenarios in which the target is unhealthy because checks do not get to it, or not where they should."""

import subprocess
import time

from bystanders import Caller
from health import ALB, DIRECT, visitors
from probing import Group, fleet, play
from prober import Prober, Settings
from scenario import scenario
from world import NODES, OFFICE, PORT, TARGET

ONLY_THE_BALANCER = {"lb": f"(tcp or icmp) and (host {NODES[0]} or host {NODES[1]})"}


def expect(lab, balancer, target):
    """What a search for the expected target should find out in each capture."""
    lab.notes["expect"] = {"target": f"{TARGET}:{PORT}", "found": {"lb": balancer, "target": target}}


def ask(path):
    """A colleague's curl from the office."""
    caller = Caller(OFFICE)
    caller.ask("GET", path, "User-Agent: curl/7.88.1", "Accept: */*")
    caller.close()


def no_egress(lab):
    """Drop what the load balancer's nodes send, on the way: their own security group has no egress rule."""
    for node in NODES[:2]:
        lab.world.rule(do="drop", way="to-target", source=node)


@scenario("no-egress", more=NODES[1:2], capture=ONLY_THE_BALANCER, **DIRECT)
def no_egress_silent(lab):
    """Nothing that the load balancer sends leaves its network; nothing else talks to the target."""
    expect(lab, "unanswered", "nothing-arrives")
    no_egress(lab)
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    time.sleep(5)
    group.stop()


@scenario("no-egress-others", more=(NODES[1], OFFICE), capture=ONLY_THE_BALANCER, quick=True, **DIRECT)
def no_egress_others(lab):
    """Nothing that the load balancer sends leaves its network; a colleague's curl to the target works."""
    expect(lab, "unanswered", "nothing-arrives")
    lab.bystanders.append({"what": "colleague", "sources": [OFFICE], "server": {"ip": TARGET, "port": PORT}})
    no_egress(lab)
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    for pause in (0.7, 2.4, 0.3, 3.1, 0.9):
        time.sleep(pause)
        ask("/health")
    group.stop()


@scenario("no-ingress", more=(NODES[1], OFFICE), **DIRECT)
def no_ingress(lab):
    """The checks arrive at the target, whose firewall drops them; others are let in."""
    expect(lab, "unanswered", "unanswered")
    lab.bystanders.append({"what": "colleague", "sources": [OFFICE], "server": {"ip": TARGET, "port": PORT}})
    lab.world.firewall("target", f"ip saddr {{ {NODES[0]}, {NODES[1]} }} tcp dport 8080 drop")
    group = fleet(lab, ALB, Settings("alb"), NODES[:2]).start()
    for pause in (0.9, 1.7, 0.4):
        time.sleep(pause)
        ask("/")
    group.stop()


@scenario("other-port", more=NODES[1:2], **DIRECT)
def other_port(lab):
    """The checks go to port 8081, where nothing listens; users use port 8080."""
    expect(lab, "other-port", "other-port")
    group = fleet(lab, ALB, Settings("alb", port=8081), NODES[:2], (TARGET, 8081)).start()
    visitors(lab, 4.0, NODES[:2], pause=0.2)
    group.stop()


class Command(Prober):
    """A program inside the target's host that checks over the loopback; its exit code is the result.  Where the
    code says only that the network failed, the outage says how."""

    late = 0.3

    def __init__(self, lab, name, command, codes, settings, first):
        super().__init__(settings, "127.0.0.1", ("127.0.0.1", PORT), first)
        self.lab, self.name, self.command, self.codes = lab, name, command, codes

    def check(self):
        """Run the program once."""
        began, clock = time.time(), time.monotonic()
        done = subprocess.run([*self.lab.world.inside(), *self.command], capture_output=True, text=True, timeout=5,
                              check=False)
        outcome = self.codes[done.returncode] or self.lab.spoils or "hc-refused"
        code = done.stdout.strip()
        status = int(code) if code.isdigit() and int(code) else None
        self.note(began, time.monotonic() - clock, ("127.0.0.1", None), outcome, status)
        self.checks[-1]["log"] = f"{self.name}: exit code {done.returncode}"


URL = f"http://127.0.0.1:{PORT}/health"
CURL = (["curl", "-f", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "0.3", URL],
        {0: "hc-pass", 7: "hc-refused", 22: "hc-status-mismatch", 28: "hc-timeout", 52: "hc-closed", 56: "hc-closed"})
WGET = (["wget", "--spider", "-q", "-t", "1", "-T", "0.3", URL],
        {0: "hc-pass", 8: "hc-status-mismatch", 4: None})
NC = (["nc", "-z", "-w", "1", "127.0.0.1", str(PORT)], {0: "hc-pass", 1: "hc-refused"})


@scenario("container", needs=("curl", "wget", "nc"), more=NODES[1:2], capture={"interface": "any"}, **DIRECT)
def container(lab):
    """Checks from inside the target's host, by curl, wget and nc over its loopback, beside those of ALB nodes; the
    target's capture is of all interfaces."""
    fleet(lab, ALB, Settings("alb"), NODES[:2])
    for number, (name, protocol, (command, codes)) in enumerate(
            (("curl", "http", CURL), ("wget", "http", WGET), ("nc", "tcp", NC))):
        settings = Settings("container", protocol, interval=1.2, matcher="200-399", healthy=1, unhealthy=3)
        prober = Command(lab, name, command, codes, settings, 0.1 + 0.4 * number)
        lab.probers.append(Group(["container-healthcheck"], prober.server, settings.truth(), [prober]))
    play(lab, ["app-503", "refused", "hung"], out=4.0, well=2.6)
