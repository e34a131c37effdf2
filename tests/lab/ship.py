"""Make the shipped set of captures from the lab's output."""

import datetime
import json
import os
import shutil

from proxies import PROXIES
from scenario import SCENARIOS
from world import LabError

# folder -> the scenarios shipped in it
SHIPPED = {
    "balancer-log": ["alb-log"],
    "connect-refused": ["refused", "reject-rst"],
    "connect-unreachable": ["reject-icmp", "reject-icmp-port", "router-icmp"],
    "connect-timeout": ["net-drop"],
    "connect-timeout-host": ["host-drop", "backlog-full"],
    "return-path-blocked": ["synack-lost", "return-cut"],
    "tuple-collision": ["tuple-collision"],
    "tls-handshake-failed": ["tls-fin", "tls-rst", "tls-alert-hello", "tls-old-target", "tls-old-answer",
                             "tls-no-cipher", "tls12-expired", "tls13-expired", "tls12-unknown-ca",
                             "tls13-self-signed", "tls12-wrong-host", "tls12-name", "tls12-client-certificate",
                             "tls13-client-certificate", "tls12-rst-hello", "tls12-rst-key", "tls13-rst-hello",
                             "tls13-fin-hello"],
    "tls-handshake-timeout": ["tls-stall", "tls12-stall-hello"],
    "protocol-mismatch": ["tls-alert", "h2-answer", "tls-plain", "plain-port-nginx", "tls-port-nginx",
                          "tls-port-haproxy", "tls-port-python"],
    "tls-requests": ["tls12-race", "tls13-race", "tls13-race-bare", "tls12-think-fin",
                     "tls13-think-rst", "tls13-no-response", "tls13-silent", "tls13-headers-fin", "tls12-body-fin",
                     "tls13-body-fin", "tls12-stale-rst", "tls13-unacked", "tls12-app-502"],
    "tls-healthy": ["healthy-tls12", "healthy-tls13", "healthy-tls13-idle",
                    "healthy-tls12-session-id", "healthy-tls13-one-shot-bare", "healthy-tls13-retry",
                    "healthy-tls13-lossy", "healthy-tls12-mutual", "healthy-tls-direct", "healthy-tls-handshakes",
                    "healthy-tls-early-data", "healthy-tls-h2"],
    "tls-twins": ["twin-plain", "twin-tls12", "twin-tls13"],
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
    "probers": ["alb-answers", "alb-endings", "alb-silence", "alb-real-time", "alb-with-users", "alb-one-zone",
                "alb-never-healthy", "nlb-http", "nlb-tcp", "nlb-tcp-reset", "nlb-tls-listener",
                "nlb-https", "nlb-https-tls13-only", "nlb-https-stall",
                "haproxy-https-alert", "haproxy-https-expired", "haproxy-https-stall", "haproxy-https-version",
                "haproxy-https-plain", "kubelet", "haproxy-tcp", "haproxy-options",
                "haproxy-get", "haproxy-send-state", "haproxy-down", "haproxy-check-ssl", "envoy-http", "container"],
    "absent-checks": ["no-egress", "no-egress-others", "no-ingress", "other-port", "checks-stop"],
    "checks-and-users": ["fail-open", "passive-lead"],
    "bystanders": ["browsers", "port-scan", "pollers"],
    "access-log": ["nginx-record"],
    "health-checks": ["check-status", "check-closed", "check-reset", "check-timeout", "check-garbage", "check-flap"],
    "demo": ["demo"],
}
# The proxies whose captures are shipped, and those of some scenarios
PROXIES_SHIPPED = {"nginx", "haproxy", "direct"}
PROXIES_OF = {"envoy-http": {"envoy"}, "tls13-expired": {"nginx", "haproxy", "envoy"}, "twin-plain": {"nginx"},
              "twin-tls12": {"nginx"}, "twin-tls13": {"nginx"}, "healthy-tls13-lossy": {"nginx"}}
# Of these the capture at the load balancer is there once more, with its keys inside
WITH_SECRETS = {"tls13-race", "twin-tls12", "twin-tls13"}

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

The folder is the cause id, or says what its scenarios have in common; the same fault may have another cause
id at the other vantage, because the packets there show something else. In the truth, `cause` holds for each
vantage the right id, or a list of ids if the packets of that vantage cannot decide (the best one first), or
null if they show no failure; `ok` is what the proxy's own log says (the client's observation where the proxy
logs nothing). A request that is ok but has `tolerated` met that cause all the same: the proxy passed a broken
answer on without complaint, or sent the request again with success. nginx logs 009 for an answer without a status line
and 000 where it sent none.
`visible` says whether the request's target is in that capture at all. `connections` lists attempts that
failed before any request was sent; their requests are not in the capture. `checks` gives the outcome of
HAProxy's health checks, phase by phase. `tests/lab/check.py` checks with
tshark that the packets show what the labels say.

Where health checks are the subject, `probers` has one entry for each group of nodes that check a target in the
same way: the ids that are right for it, its settings, each check with what the prober itself made of it
(`outcome` is null where no packet of it is in that capture), the `transitions` of each node's state with the
number of the check that caused it, and in `whole` between which moments all nodes came to a state. HAProxy's word
comes from its statistics, Envoy's from its event log, curl's, wget's and nc's from their exit codes; the ALB-,
NLB- and kubelet-like probers (`tests/lab/prober.py`) are ours, after the vendors' descriptions, and keep a log of
their own. `outages` says how the target was out, and when. `bystanders` are no health checks of a load balancer.
`access_log` is nginx's own log at the target. 192.0.2.11 and 192.0.2.12 are further nodes of the load balancer.

In `healthy/` and `tls-healthy/` nothing fails: a finding there is an error of the tool, whatever looks odd.

Where the load balancer speaks TLS to the target, its keys are beside the captures if there was anything to read
inside, in `<proxy>-<scenario>-keys.log` as SSLKEYLOGFILE has it; a few captures are there once more as
`<proxy>-<scenario>-lb-secrets.pcapng` with these keys inside (`editcap --inject-secrets`). The keys are of these
connections only, and the certificates were made for the lab. `cause` in such a truth is right with the keys; `sealed`
is right without them, where an answer that is cut, broken or a 5xx looks like any other. `tls` says how a handshake
ended: `by` whom, the `reason`, the number of the `alert` that said so (null: there was none), and whether it was
`encrypted`. A load balancer that looks at the certificate only when the handshake is complete (nginx) leaves just a
connection that was not used; null is right for that, too. `tls-twins/` has the same 51 requests three times: in
clear, in TLS 1.2 and in TLS 1.3; with keys the three say the same.

| Folder | Scenario | Proxies | Failed | Cause at the balancer | Cause at the target | Meaning |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

Both legs of a proxy, captured on the proxy by `tests/lab/legs.py` (`<proxy>-<arms>-proxy.pcap.gz`), clients and
targets in another namespace. `two-armed`: clients come in over another interface and address, captured with
`-i any`; `one-armed`: one interface, one address. Each request carries `X-Lab`, which the logs of the proxy and of the
targets have, too. In the truth each request has its client's port and its position on that connection, the status
that the proxy logged, the attempts that reached a target (port of the target, port of the proxy, position on that
connection), and which or how many targets the proxy says it tried.

| Folder | Run | Subject |
| --- | --- | --- |
{legs}
"""


def text(label):
    """A label for people."""
    return " or ".join(str(x or "none") for x in label) if isinstance(label, list) else label or "none"


def take(out, place, name, proxy):
    """Copy one run from `out` if it is there; else what was shipped before stays.  Return its truth."""
    source, stem = os.path.join(out, name, proxy), f"{place}/{proxy}-{name}"
    if os.path.exists(f"{source}/truth.json"):
        for side in ("lb", "target"):
            shutil.copyfile(f"{source}/{side}.pcap", f"{stem}-{side}.pcap")
        shutil.copyfile(f"{source}/truth.json", f"{stem}.json")
        if os.path.exists(f"{source}/keys.log"):
            shutil.copyfile(f"{source}/keys.log", f"{stem}-keys.log")
        if name in WITH_SECRETS:
            shutil.copyfile(f"{source}/lb-secrets.pcapng", f"{stem}-lb-secrets.pcapng")
    with open(f"{stem}.json", encoding="utf-8") as file:
        return json.load(file)


def ship(out, folder):
    """Copy the shipped scenarios that are in `out` to `folder`, and write its README."""
    rows, versions = [], {}
    for cause, names in SHIPPED.items():
        place = os.path.join(folder, cause)
        os.makedirs(place, exist_ok=True)
        for name in names:
            wanted = PROXIES_OF.get(name, PROXIES_SHIPPED)
            proxies = [proxy for proxy in SCENARIOS[name].proxies if proxy in wanted]
            causes, failed = {}, []
            for proxy in proxies:
                truth = take(out, place, name, proxy)
                versions |= truth["versions"]
                bad = [row for row in truth["requests"] if not row["ok"]]
                refused = sum(connection["count"] for connection in truth["connections"])
                failed.append(f"{len(bad) + refused} of {len(truth['requests']) + refused}")
                labels = [item["cause"] for item in bad + truth["connections"]]
                checks = truth["checks"] + [check for group in truth.get("probers", []) for check in group["checks"]]
                for label in labels + [check["outcome"] for check in checks]:
                    for side in ("lb", "target"):
                        causes.setdefault(side, {})[text(label[side])] = None
            cells = [cause, name, ", ".join(proxies), ", ".join(failed),
                     "; ".join(causes.get("lb", ["none"])), "; ".join(causes.get("target", ["none"])),
                     SCENARIOS[name].description]
            rows.append("| " + " | ".join(cells) + " |")
    if not versions:
        raise LabError("nothing to ship")
    programs = ", ".join(f"{name} {versions[name]}" for name in [*PROXIES, "curl", "wget", "tcpdump"]
                         if name in versions and name != "apache")
    legs = [f"| both-legs | {name[:-5]} | Retries, refused and reset connections, own errors, time-outs, aborts, "
            "rewritten paths. |" for name in sorted(os.listdir(os.path.join(folder, "both-legs")))
            if name.endswith(".json")]
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
        file.write(README.format(date=datetime.date.today().isoformat(), kernel=versions["kernel"],
                                 programs=programs, rows="\n".join(rows), legs="\n".join(legs)))
