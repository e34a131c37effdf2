"""What the truth says of TLS: why a handshake fails, and what can be told of a request that nobody can read.

A handshake that fails has a `tls` part in the truth: who ended it (`by`), a word for the `reason`, the number of the
`alert` that its end carried or null, and whether that alert is `encrypted`.  A request over TLS has two labels:
`cause` for those who have the keys, as for a request in clear, and `sealed` for those who have not.
"""

FAILED, TIMEOUT, MISMATCH = "tls-handshake-failed", "tls-handshake-timeout", "protocol-mismatch"
TARGET, LB = "target", "lb"


def end(by, reason, alert=None, encrypted=False):
    """How a handshake ended."""
    return {"by": by, "reason": reason, "alert": alert, "encrypted": encrypted}


def verified(reason, alert, encrypted=False):
    """The load balancer does not like the certificate.  nginx looks at it when the handshake is complete, and closes
    then without an alert; the others refuse it in the handshake.  In TLS 1.3 the alert of OpenSSL is in clear even
    so, because it has not sent anything encrypted yet; that of Envoy's BoringSSL is not."""
    return {"nginx": end(LB, reason), "envoy": end(LB, reason, alert, encrypted), "": end(LB, reason, alert)}


# A handshake that was complete and was not used: whoever has the certificate in clear may see what is wrong with it,
# but a load balancer that only tests connections looks the same
UNUSED = [FAILED, None]
VERIFIED = {"nginx": UNUSED, "": FAILED}
# The host name is what Apache too checks only then; for HAProxy's OpenSSL its own check's refusal is an internal error
NAMED = {"nginx": UNUSED, "apache": UNUSED, "": FAILED}


def misnamed(encrypted=False):
    """The load balancer looks for another host name in the certificate."""
    return {"haproxy": end(LB, "wrong-host", 80), "envoy": end(LB, "wrong-host", 46, encrypted),
            "": end(LB, "wrong-host")}


# fault -> (cause, how it ended); each may depend on the proxy, "" are all that are not named
HANDSHAKES = {
    "tls-fin": (FAILED, end(TARGET, "closed")),
    "tls-rst": (FAILED, end(TARGET, "reset")),
    "tls-alert-hello": (FAILED, end(TARGET, "alert", 40)),
    "tls-plain": ([MISMATCH, FAILED], end(TARGET, "plaintext")),
    "tls-stall": (TIMEOUT, end(LB, "stalled")),
    "tls-old-target": (FAILED, end(TARGET, "version", 70)),
    "tls-new-target": (FAILED, end(TARGET, "version", 70)),
    "tls-old-answer": (FAILED, end(LB, "version", 70)),
    "tls-no-cipher": (FAILED, end(TARGET, "cipher", 40)),
    "tls-no-suite": (FAILED, end(TARGET, "cipher", 40)),
    "tls12-expired": (VERIFIED, verified("expired", 45)),
    "tls13-expired": (VERIFIED, verified("expired", 45, True)),
    "tls12-not-yet-valid": (VERIFIED, verified("not-yet-valid", 42)),
    "tls12-unknown-ca": (VERIFIED, verified("unknown-ca", 48)),
    "tls13-unknown-ca": (VERIFIED, verified("unknown-ca", 48, True)),
    "tls12-self-signed": (VERIFIED, verified("self-signed", 48)),
    "tls13-self-signed": (VERIFIED, verified("self-signed", 48, True)),
    "tls12-wrong-host": (NAMED, misnamed()),
    "tls13-wrong-host": (NAMED, misnamed(True)),
    "tls12-name": (FAILED, end(TARGET, "name", 112)),
    "tls13-name": (FAILED, end(TARGET, "name", 112)),
    "nginx-name": (FAILED, end(TARGET, "name", 112)),
    "tls12-rst-hello": (FAILED, end(TARGET, "reset")),
    "tls12-rst-key": (FAILED, end(TARGET, "reset")),
    "tls13-rst-hello": (FAILED, end(TARGET, "reset")),
    "tls12-fin-hello": (FAILED, end(TARGET, "closed")),
    "tls13-fin-hello": (FAILED, end(TARGET, "closed")),
    "tls12-stall-hello": (TIMEOUT, end(LB, "stalled")),
    "tls12-client-certificate": (FAILED, end(TARGET, "client-certificate", 40)),
    "tls13-client-certificate": (FAILED, end(TARGET, "client-certificate", 116, True)),
    "plain-port-nginx": (MISMATCH, end(TARGET, "plaintext")),
    "plain-port-apache": (MISMATCH, end(TARGET, "plaintext")),
    "plain-port-python": (MISMATCH, end(TARGET, "plaintext")),
}

# What the logs say where it is not what truth.EVIDENCE expects of the cause: nginx's words, HAProxy's states
AFTER = "104: Connection reset|prematurely closed|SSL_read|SSL_do_handshake|in SSL handshake"
EVIDENCE = {
    "tls13-rst-hello": (AFTER, "SC SH"),
    "tls13-fin-hello": (AFTER, "SC SH"),
    "tls13-client-certificate": ("alert certificate required", "SH"),
    "tls-port-nginx": (" 400 upstream=400 ", "--"),
    "tls-port-apache": (" 400 upstream=400 ", "--"),
    "tls-port-haproxy": (AFTER, "SH"),
    "tls-port-python": (AFTER, "SH"),
}

NONE_OR_UNSURE = [None, "inconclusive"]
# fault -> cause at both vantages without keys, where it is not the same as with keys.  The length of what the target
# sent says nothing of its meaning, so an answer that is cut, broken or a 5xx looks like any other.
SEALED = {
    "no-response": ["response-timeout", "inconclusive"],
    "headers-fin": [None, "inconclusive", "response-header-truncated"],
    "headers-rst": ["inconclusive", None, "response-header-truncated"],
    "body-fin": [None, "inconclusive", "response-body-truncated"],
    "body-rst": ["inconclusive", None, "response-body-truncated"],
    "chunked-cut": [None, "inconclusive", "response-body-truncated"],
    "headers-stall": ["inconclusive", None, "response-stalled"],
    "body-stall": ["inconclusive", None, "response-stalled"],
    "bad-status": NONE_OR_UNSURE,
    "bad-name-space": NONE_OR_UNSURE,
    "garbage": NONE_OR_UNSURE,
    "chunked-bad": NONE_OR_UNSURE,
    "headers-huge": NONE_OR_UNSURE,
    "app-500": [None],
    "app-502": [None],
    "app-503": [None],
    "app-504": [None],
    "early-413": ["target-closed-during-request", "inconclusive", None],
    "post-fin": ["target-closed-during-request", "target-fin-no-response", "inconclusive"],
    "post-rst": ["target-closed-during-request", "target-rst-no-response", "inconclusive"],
    "late-408": ["unsolicited-response", "keepalive-race", "inconclusive"],
    "client-abort": ["client-abort", "inconclusive"],
    "tls13-client-certificate": [FAILED, "inconclusive", "target-rst-no-response", "target-fin-no-response"],
    "tls13-rst-hello": [FAILED, "target-rst-no-response", "inconclusive"],
    "tls13-fin-hello": [FAILED, "target-fin-no-response", "inconclusive"],
}


def by_proxy(value, proxy):
    """A value that may depend on the proxy."""
    return value.get(proxy, value.get("")) if isinstance(value, dict) and "" in value else value


def ending(fault, proxy):
    """How a failed handshake ended; None if the fault is none of the handshake."""
    return by_proxy(HANDSHAKES[fault][1], proxy) if fault in HANDSHAKES else None


def cause(fault, proxy):
    """The label of a failed handshake; None if the fault is none of the handshake."""
    return by_proxy(HANDSHAKES[fault][0], proxy) if fault in HANDSHAKES else None
