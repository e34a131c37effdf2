"""From an injected fault and the proxy's own log to the label of a capture.

The fault says which cause the packets should show at each vantage; the log says whether the request
really failed, and its words must agree with the cause.  A label is a cause id, or a list of ids where the
packets of that vantage cannot decide (the first is the best), or None where they show no failure.
"""

import re

import tls_truth

# fault -> cause id for both vantages, or {"lb": ..., "target": ...}
CAUSES = {
    "read-fin": "target-fin-no-response",
    "think-fin": "target-fin-no-response",
    "read-rst": "target-rst-no-response",
    "think-rst": "target-rst-no-response",
    "accept-close": ["target-rst-no-response", "target-fin-no-response"],
    "accept-late-close": "target-rst-no-response",
    "queue-rst": "target-rst-no-response",
    "status-fin": "response-header-truncated",
    "status-rst": "response-header-truncated",
    "headers-fin": "response-header-truncated",
    "headers-rst": "response-header-truncated",
    "headers-stall": "response-stalled",
    "no-response": "response-timeout",
    "queue-stall": "response-timeout",
    "tls13-silent": "response-timeout",
    "body-fin": "response-body-truncated",
    "body-rst": "response-body-truncated",
    "chunked-fin": "response-body-truncated",
    "chunked-rst": "response-body-truncated",
    "chunked-cut": "response-body-truncated",
    "until-close-rst": "response-body-truncated",
    "body-stall": "response-stalled",
    "chunked-stall": "response-stalled",
    "chunked-bad": "response-malformed",
    "bad-status": "response-malformed",
    "garbage": "response-malformed",
    "http09": "response-malformed",
    "bad-name-space": "response-malformed",
    "bad-no-colon": "response-malformed",
    "bad-name-ctl": "response-malformed",
    "bad-two-lengths": "response-malformed",
    "bad-length": "response-malformed",
    "bad-te": "response-malformed",
    "headers-huge": "response-header-too-large",
    "tls-alert": "protocol-mismatch",
    "h2-answer": "protocol-mismatch",
    "zero-window": "target-not-reading",
    "early-413": "target-closed-during-request",
    "post-fin": "target-closed-during-request",
    "post-rst": "target-closed-during-request",
    "app-500": "target-own-5xx",
    "app-502": "target-own-5xx",
    "app-503": "target-own-5xx",
    "app-504": "target-own-5xx",
    "race-fin": "keepalive-race",
    "race-rst": "keepalive-race",
    "race-silent": "keepalive-race",
    "race-cap": "keepalive-race",
    "race-retried": "keepalive-race",
    "lb-reload": "lb-cut",
    "tls-port-nginx": "protocol-mismatch",
    "tls-port-apache": "protocol-mismatch",
    "tls-port-haproxy": ["protocol-mismatch", "target-rst-no-response", "target-fin-no-response"],
    "tls-port-python": ["protocol-mismatch", "target-rst-no-response", "target-fin-no-response"],
    "nginx-client-certificate": None,
    "late-408": "unsolicited-response",
    "stray-answer": "unsolicited-response",
    "stale-rst": {"lb": ["stale-flow-reset", "injected-reset"], "target": None},
    "stale-host": "stale-flow-reset",
    "stale-drop": {"lb": "request-unacked", "target": None},
    "unacked": {"lb": "request-unacked", "target": None},
    # Nothing as large had passed before, and nothing small was sent after it
    "large-unacked": {"lb": ["request-unacked", "mtu-blackhole"], "target": None},
    "return-cut": {"lb": "request-unacked", "target": "return-path-blocked"},
    "mtu-up": {"lb": "mtu-blackhole", "target": ["mtu-blackhole", "request-unacked", "inconclusive", None]},
    "mtu-post": {"lb": "mtu-blackhole", "target": ["mtu-blackhole", "response-timeout", "inconclusive"]},
    "mtu-down": {"lb": ["mtu-blackhole", "response-timeout", "response-stalled", "inconclusive"],
                 "target": "mtu-blackhole"},
    "injected-rst": "injected-reset",
    "client-abort": ["client-abort", "inconclusive"],
    "lb-cut": "lb-cut",
    "lb-stop": "lb-cut",
    "refused": "connect-refused",
    "reject-rst": "connect-refused",
    "reject-icmp": "connect-unreachable",
    "reject-icmp-port": "connect-unreachable",
    "router-icmp": {"lb": "connect-unreachable", "target": None},
    "net-drop": {"lb": "connect-timeout", "target": None},
    "host-drop": {"lb": "connect-timeout", "target": "connect-timeout-host"},
    "backlog-full": {"lb": "connect-timeout", "target": "connect-timeout-host"},
    "synack-lost": {"lb": "connect-timeout", "target": "return-path-blocked"},
    "tuple-collision": "tuple-collision",
    "port-exhaustion": {"lb": None, "target": None},
}

# Faults that depend on timing: a request that came through met no fault.
MAY_MISS = {"race-fin", "race-rst", "race-cap", "race-silent", "late-408", "stray-answer", "stale-rst", "stale-drop",
            "accept-close", "client-abort", "lb-cut", "lb-stop", "lb-reload"}

CLOSED = "prematurely closed|104: Connection reset"
WHILE_HEADER = r"(prematurely closed|104: Connection reset).*reading response header"
SLOW = "110: Connection timed out"
# What the logs say when a cause is at work: nginx's words, HAProxy's states.  Apache's words are too few to check.
EVIDENCE = {
    "target-fin-no-response": (WHILE_HEADER, "SH"),
    "target-rst-no-response": (WHILE_HEADER, "SH"),
    "keepalive-race": (CLOSED, "SH"),
    "stale-flow-reset": ("104: Connection reset", "SH"),
    "injected-reset": ("104: Connection reset", "SH"),
    "response-header-truncated": (WHILE_HEADER, "SH"),
    "response-body-truncated": (CLOSED, "SD SL"),
    "response-stalled": (SLOW, "sH sD"),
    "response-timeout": (SLOW + ".*reading response header", "sH"),
    "request-unacked": (SLOW, "sH"),
    "return-path-blocked": (SLOW, "sH sC"),
    "mtu-blackhole": (SLOW, "sH sD cD"),
    "target-not-reading": (SLOW + ".*sending request", "sD sH"),
    "tls-handshake-failed": ("SSL_do_handshake|in SSL handshake|SSL handshaking", "SC"),
    "tls-handshake-timeout": (SLOW + ".*SSL handshaking", "sC"),
    "response-malformed": ("upstream sent| 009 |prematurely closed.*reading upstream", "PH PD SD SH"),
    "protocol-mismatch": ("upstream sent| 009 |SSL handshaking", "PH SH SC"),
    "response-header-too-large": ("too big header", "PH"),
    "target-closed-during-request": ("104|32: Broken pipe|prematurely closed", "SH SD SL"),
    "target-own-5xx": (r"upstream=50", "--"),
    "unsolicited-response": (r"upstream=\d", "--"),
    "client-abort": (" 499 ", "CH CD CC"),
    "lb-cut": ("", "KH DH KD"),
    "connect-refused": ("111: Connection refused", "SC"),
    "connect-unreachable": ("113: No route|111: Connection refused", "SC"),
    "connect-timeout": (SLOW + ".*while connecting", "sC"),
    "tuple-collision": (SLOW + ".*while connecting", "sC SC"),
}


def labels(fault, proxy):
    """The cause at each vantage for a fault."""
    cause = CAUSES[fault] if fault in CAUSES else tls_truth.cause(fault, proxy)
    return dict(cause) if isinstance(cause, dict) else {"lb": cause, "target": cause}


def handshake(fault, proxy):
    """What is known about a handshake that failed."""
    ending = tls_truth.ending(fault, proxy)
    return {"tls": ending} if ending else {}


def sealed(cause, fault):
    """The label of a request over TLS at each vantage for those who have no keys."""
    if fault in tls_truth.SEALED and any(cause.values()):
        return {side: tls_truth.SEALED[fault] for side in cause}
    return dict(cause)


def first(label):
    """The best id of a label."""
    return label[0] if isinstance(label, list) else label


def disagreement(proxy, fault, verdict, over_tls=False):
    """Why the proxy's log does not fit the fault; None if it does.  Over TLS nginx calls a RST a close."""
    if verdict.ok or verdict.silent:
        return None
    cause = first(labels(fault, proxy)["lb"])
    if cause is None or proxy not in ("nginx", "haproxy"):
        return None
    words, states = tls_truth.EVIDENCE.get(fault) or EVIDENCE[cause]
    if over_tls:
        words = words.replace("104: Connection reset", CLOSED)
    if proxy == "nginx" and not re.search(words, verdict.log):
        return f"nginx's words do not fit {cause}: {verdict.log}"
    if proxy == "haproxy" and verdict.state[:2] not in states.split():
        return f"HAProxy's state {verdict.state} does not fit {cause}: {verdict.log}"
    return None
