"""Make the shipped set of captures from the lab's output."""

import datetime
import json
import os
import shutil

from proxies import PROXIES
from scenario import SCENARIOS
from world import LabError

# folder -> the scenarios shipped in it, all with nginx and HAProxy where these exist
SHIPPED = {
    "connect-refused": ["refused", "reject-rst"],
    "connect-unreachable": ["reject-icmp", "reject-icmp-port", "router-icmp"],
    "connect-timeout": ["net-drop"],
    "connect-timeout-host": ["host-drop", "backlog-full"],
    "return-path-blocked": ["synack-lost", "return-cut"],
    "tuple-collision": ["tuple-collision"],
    "tls-handshake-failed": ["tls-fin", "tls-rst", "tls-alert-hello"],
    "tls-handshake-timeout": ["tls-stall"],
    "protocol-mismatch": ["tls-alert", "h2-answer", "tls-plain"],
    "keepalive-race": ["race-fin", "race-rst", "race-cap", "race-silent", "race-retried"],
    "stale-flow-reset": ["stale-rst", "stale-host"],
    "target-fin-no-response": ["read-fin", "think-fin"],
    "target-rst-no-response": ["read-rst", "think-rst", "queue-rst"],
    "target-closed-during-request": ["post-fin", "post-rst", "early-413"],
    "response-header-truncated": ["status-fin", "headers-fin", "headers-rst"],
    "response-body-truncated": ["body-fin", "body-rst", "chunked-cut", "until-close-rst"],
    "response-malformed": ["chunked-bad", "bad-status", "garbage", "http09", "bad-name-space", "bad-two-lengths"],
    "response-header-too-large": ["headers-huge"],
    "unsolicited-response": ["late-408", "stray-answer"],
    "response-timeout": ["no-response", "queue-stall"],
    "response-stalled": ["headers-stall", "body-stall"],
    "request-unacked": ["unacked", "stale-drop"],
    "mtu-blackhole": ["mtu-up", "mtu-post", "mtu-down"],
    "target-not-reading": ["zero-window"],
    "lb-cut": ["lb-cut", "lb-stop", "lb-reload"],
    "client-abort": ["client-abort"],
    "injected-reset": ["injected-rst"],
    "target-own-5xx": ["app-500", "app-503"],
    "healthy": ["healthy-mixed", "healthy-close", "healthy-slow", "healthy-websocket", "healthy-early-hints",
                "healthy-tcp-check", "healthy-http-check", "healthy-check-reset", "healthy-lossy", "healthy-direct",
                "healthy-preconnect", "healthy-tuple-reuse", "healthy-tls"],
    "health-checks": ["check-status", "check-closed", "check-reset", "check-timeout", "check-garbage", "check-flap"],
    "demo": ["demo"],
}
NOT_SHIPPED = {"apache"}

README = """# Captures

Real captures of real proxies in front of a backend that fails on request, made by `tests/lab/lab.py`
on {date} with kernel {kernel}, {programs}. Make them again, as root, with

    python3 tests/lab/lab.py --ship captures/

Nothing in them comes from a production network: both ends are network namespaces of one machine, joined
by a cable in user space (`tests/lab/cable.py`) of 25 ms each way and three hops. 192.0.2.10 is the load
balancer, 198.51.100.20:8080 the target. Each scenario was captured at both ends at once:

- `<proxy>-<scenario>-lb.pcap`: at the load balancer
- `<proxy>-<scenario>-target.pcap`: at the target
- `<proxy>-<scenario>.json`: the truth, from the proxy's own log

The folder is the cause id; the same fault may have another cause id at the other vantage, because the
packets there show something else. In the truth, `cause` holds for each vantage the right id, or a list of
ids if the packets of that vantage cannot decide (the best one first), or null if they show no failure;
`ok` is what the proxy's own log says (the client's observation where the proxy logs nothing). A request
that is ok but has `tolerated` met that cause all the same: the proxy passed a broken answer on without
complaint, or sent the request again with success. nginx logs 009 for an answer without a status line
and 000 where it sent none.
`visible` says whether the request's target is in that capture at all. `connections` lists attempts that
failed before any request was sent; their requests are not in the capture. `checks` gives the outcome of
HAProxy's health checks, phase by phase. `tests/lab/check.py` checks with
tshark that the packets show what the labels say.

In `healthy/` nothing fails: a finding there is an error of the tool, whatever looks odd.

| Folder | Scenario | Proxies | Failed | Cause at the balancer | Cause at the target | Meaning |
| --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


def text(label):
    """A label for people."""
    return " or ".join(str(x or "none") for x in label) if isinstance(label, list) else label or "none"


def ship(out, folder):
    """Copy the shipped scenarios from `out` to `folder`, and write its README."""
    rows, versions = [], {}
    for cause, names in SHIPPED.items():
        place = os.path.join(folder, cause)
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        for name in names:
            proxies = [proxy for proxy in SCENARIOS[name].proxies if proxy not in NOT_SHIPPED]
            causes, failed = {}, []
            for proxy in proxies:
                source = os.path.join(out, name, proxy)
                with open(f"{source}/truth.json", encoding="utf-8") as file:
                    truth = json.load(file)
                versions = truth["versions"]
                for side in ("lb", "target"):
                    shutil.copyfile(f"{source}/{side}.pcap", f"{place}/{proxy}-{name}-{side}.pcap")
                shutil.copyfile(f"{source}/truth.json", f"{place}/{proxy}-{name}.json")
                bad = [row for row in truth["requests"] if not row["ok"]]
                refused = sum(connection["count"] for connection in truth["connections"])
                failed.append(f"{len(bad) + refused} of {len(truth['requests']) + refused}")
                labels = [item["cause"] for item in bad + truth["connections"]]
                for label in labels + [check["outcome"] for check in truth["checks"]]:
                    for side in ("lb", "target"):
                        causes.setdefault(side, {})[text(label[side])] = None
            cells = [cause, name, ", ".join(proxies), ", ".join(failed),
                     "; ".join(causes.get("lb", ["none"])), "; ".join(causes.get("target", ["none"])),
                     SCENARIOS[name].description]
            rows.append("| " + " | ".join(cells) + " |")
    if not versions:
        raise LabError("nothing to ship")
    programs = ", ".join(f"{name} {versions[name]}" for name in [*PROXIES, "tcpdump"]
                         if name in versions and name not in NOT_SHIPPED)
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
        file.write(README.format(date=datetime.date.today().isoformat(), kernel=versions["kernel"],
                                 programs=programs, rows="\n".join(rows)))
