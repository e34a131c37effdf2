//! The outcomes of health checks for people: the same form as root causes, so that
//! `why502 explain` prints them.

use crate::cause::{ALL, Cause, Responsible};
use std::sync::LazyLock;

/// Everything that `why502 explain` knows: root causes, then outcomes.
pub static EXPLAINED: LazyLock<Vec<&'static Cause>> =
    LazyLock::new(|| ALL.iter().copied().chain(CAUSES).collect());

/// The root cause or outcome with this id.
pub fn by_id(id: &str) -> Option<&'static Cause> {
    EXPLAINED.iter().copied().find(|cause| cause.id == id)
}

/// Every outcome's text, in the order of [`super::outcome::Outcome::ALL`].
pub static CAUSES: [&Cause; 12] = [
    &PASS,
    &REFUSED,
    &CONNECT_TIMEOUT,
    &TLS_FAILED,
    &TLS_TIMEOUT,
    &CLOSED,
    &TIMEOUT,
    &STATUS_MISMATCH,
    &BODY_MISMATCH,
    &GRPC_MISMATCH,
    &MALFORMED,
    &PROBE_NO_DATA,
];

const ALB: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html";
const ALB_LOG: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-health-check-logs.html";
const NLB: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html";
const HAPROXY: &str = "HAProxy management guide, 9.1 (check_status)";
const ENVOY: &str = "Envoy data.core.v3.HealthCheckFailureType";

/// Passed.
pub static PASS: Cause = Cause {
    id: "hc-pass",
    summary: "the health check passed",
    explanation: "The target gave the answer that the prober expects: the TCP handshake for a TCP check, the TLS \
        handshake for a TLS check, a status within the matcher for an HTTP check. What the prober does afterwards \
        does not matter: some reset the connection as soon as they have the status line.\n\n\
        A TCP check passes when the target's kernel accepts, even if the program behind hangs. An HTTPS check is \
        encrypted: without keys the packets show that something was answered and not what, so it is reported as \
        possible.",
    seen_as: &[("AWS ALB log", "PASS"), ("HAProxy", "L4OK, L6OK, L7OK"), ("Azure", "Healthy")],
    responsible: Responsible::Unknown,
    typical_status: None,
    confirm: &["Look at the frame of the answer that the report names."],
    fix: &["Nothing to fix"],
    wireshark: &[
        ("http.user_agent matches \"(?i)health|probe|check\"", "health checkers that say so"),
        ("http.response.code < 400", "answers that usually pass"),
    ],
    references: &[ALB, NLB, HAPROXY],
    detect: |_| None,
};

/// Refused.
pub static REFUSED: Cause = Cause {
    id: "hc-refused",
    summary: "the target refused the connection of the health check",
    explanation: "The SYN of the check was answered with RST, or with an ICMP error: nothing listens on the checked \
        port of that address. The program is not running, listens on another port, or only on 127.0.0.1. A firewall \
        that rejects instead of dropping looks the same; the time to live of the RST then often differs.",
    seen_as: &[
        ("AWS ALB", "Target.FailedHealthChecks; health check log: ConnectionReset"),
        ("AWS NLB", "Target.FailedHealthChecks"),
        ("HAProxy", "L4CON, Connection refused"),
        ("Envoy", "NETWORK"),
        ("kubelet", "connect: connection refused"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(503),
    confirm: &[
        "On the target: ss -ltn shows which addresses and ports listen.",
        "Compare the checked port with the port of the program.",
    ],
    fix: &[
        "Start the program, let it listen on the checked address and port, or correct the port of the check",
        "After a deployment, give it time to start: a longer start period or grace period",
    ],
    wireshark: &[
        ("tcp.flags.reset == 1 and tcp.seq == 1 and tcp.ack == 1", "RST in answer to a SYN"),
        ("icmp.type == 3 or icmpv6.type == 1", "ICMP errors"),
    ],
    references: &["RFC 9293, 3.10.7.1", ALB_LOG, HAPROXY, ENVOY],
    detect: |_| None,
};

/// No answer to SYN.
pub static CONNECT_TIMEOUT: Cause = Cause {
    id: "hc-connect-timeout",
    summary: "nobody answered the SYN of the health check",
    explanation: "The prober asked for a connection and got neither an acceptance nor a refusal. Something drops \
        packets on the way or on the target: a security group, a network ACL, a host firewall, a wrong route, a \
        host that is down, or a listen queue that is full.\n\n\
        Captured at the target, the SYN did arrive: then the target's own host dropped it or its answer. Captured \
        at the load balancer, it is not known how far the SYN came.",
    seen_as: &[
        ("AWS ALB", "Target.Timeout; health check log: TimedOut"),
        ("AWS NLB", "Target.FailedHealthChecks"),
        ("HAProxy", "L4TOUT"),
        ("Envoy", "NETWORK_TIMEOUT"),
        ("kubelet", "i/o timeout"),
    ],
    responsible: Responsible::Unknown,
    typical_status: Some(503),
    confirm: &[
        "Capture at the target: does the SYN arrive?",
        "If it arrives: nft list ruleset, iptables -L -n, ss -ltn (Recv-Q against Send-Q), nstat TcpExtListenDrops.",
        "If it does not: the load balancer's egress, the target's ingress, the network ACLs of both subnets.",
    ],
    fix: &[
        "Open the check's port for the load balancer's security group or addresses, on the target and on the way",
        "Where the listen queue is full: more workers, or a longer backlog",
    ],
    wireshark: &[
        ("tcp.flags.syn == 1 and tcp.analysis.retransmission", "SYNs that were repeated"),
        ("tcp.completeness == 1", "connections of SYN only"),
    ],
    references: &[ALB, NLB, HAPROXY, ENVOY],
    detect: |_| None,
};

/// TLS handshake broken.
pub static TLS_FAILED: Cause = Cause {
    id: "hc-tls-failed",
    summary: "the TLS handshake of the health check was broken off",
    explanation: "The prober sent its hello, and the target answered with an alert or closed. Versions or ciphers do \
        not fit, the target wants a client certificate or a server name, or it does not speak TLS on this port. A \
        prober that verifies the certificate may be the one that refuses.\n\n\
        Alert 70 (protocol_version) means that the target speaks none of the versions offered: HTTPS checks of \
        Network and Gateway Load Balancers fail at targets that speak TLS 1.3 only.",
    seen_as: &[("AWS", "Target.FailedHealthChecks"), ("HAProxy", "L6RSP"), ("Envoy", "NETWORK")],
    responsible: Responsible::Configuration,
    typical_status: Some(503),
    confirm: &[
        "openssl s_client -connect TARGET:PORT -tls1_2, without -servername: does it complete?",
        "Compare the two hellos that the report names.",
    ],
    fix: &[
        "Let the target accept the prober's TLS version and a hello without server name, or check over HTTP",
    ],
    wireshark: &[
        ("tls.alert_message", "TLS alerts"),
        ("tls.handshake.type == 1", "TLS hellos: versions, ciphers, server name"),
    ],
    references: &["RFC 8446, 6", NLB, HAPROXY],
    detect: |_| None,
};

/// TLS hello without answer.
pub static TLS_TIMEOUT: Cause = Cause {
    id: "hc-tls-timeout",
    summary: "the target did not answer the TLS hello of the health check",
    explanation: "The connection was accepted and the hello sent; nothing came back until the prober gave up. The \
        program accepts late (all workers busy), or it waits for something else: a server that speaks plain HTTP \
        reads the hello as the start of a request and waits for the rest.",
    seen_as: &[
        ("AWS ALB", "Target.Timeout; health check log: TimedOut"),
        ("HAProxy", "L6TOUT"),
        ("Envoy", "NETWORK_TIMEOUT"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(503),
    confirm: &[
        "openssl s_client -connect TARGET:PORT on the target itself: does it answer?",
        "Look at the number of busy workers at that time.",
    ],
    fix: &[
        "Check the port that speaks TLS, or check over HTTP; otherwise give the program workers to answer with",
    ],
    wireshark: &[
        ("tls.handshake.type == 1", "TLS hellos"),
        ("tls.handshake.type == 2", "their answers"),
    ],
    references: &["RFC 8446, 4.1", HAPROXY],
    detect: |_| None,
};

/// Closed before the answer.
pub static CLOSED: Cause = Cause {
    id: "hc-closed",
    summary: "the target closed the connection before it had answered the health check",
    explanation: "The request was out and the target ended the connection with FIN or RST, without a response or in \
        the middle of one. The program crashed or was killed, refuses requests of this kind (a virtual host without \
        a match, a connection limit), or expects something before the request, such as a PROXY header.",
    seen_as: &[
        ("AWS ALB", "Target.FailedHealthChecks; health check log: ConnectionReset"),
        ("HAProxy", "L7RSP"),
        ("Envoy", "NETWORK"),
        ("kubelet", "EOF, connection reset by peer"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(503),
    confirm: &[
        "Send the same request by hand: curl -v with the same path and Host.",
        "Look into the program's and the system's log at the time of the frame.",
    ],
    fix: &[
        "Find out why the program closes: a crash, a limit, a Host that it does not serve, a PROXY header",
    ],
    wireshark: &[
        ("http.request and !http.response_in", "requests without a response"),
        ("tcp.flags.fin == 1 or tcp.flags.reset == 1", "who closed, and when"),
    ],
    references: &[ALB_LOG, HAPROXY, ENVOY],
    detect: |_| None,
};

/// No answer in time.
pub static TIMEOUT: Cause = Cause {
    id: "hc-timeout",
    summary: "the target did not answer the health check in time",
    explanation: "The connection was accepted, the request was sent, and the prober gave up before a complete answer \
        came. An answer that comes afterwards is too late; its latency is told, because it shows how long the time-out \
        would have to be.",
    seen_as: &[
        ("AWS ALB", "Target.Timeout; health check log: TimedOut"),
        ("AWS NLB", "Target.FailedHealthChecks"),
        ("HAProxy", "L7TOUT"),
        ("Envoy", "NETWORK_TIMEOUT"),
        ("kubelet", "context deadline exceeded"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(503),
    confirm: &[
        "Time the same request on the target itself: curl -w '%{time_total}'.",
        "Look at what the target did then: garbage collection, busy workers, a slow dependency that the check asks.",
    ],
    fix: &[
        "Make the check cheap: a path that answers from memory and asks no dependency",
        "Give the program free workers for it, or lengthen the time-out if the answer is slow but sound",
    ],
    wireshark: &[
        ("http.request and !http.response_in", "requests without a response"),
        ("http.time > 2", "responses that came late"),
    ],
    references: &[ALB, NLB, HAPROXY, ENVOY],
    detect: |_| None,
};

/// Wrong status.
pub static STATUS_MISMATCH: Cause = Cause {
    id: "hc-status-mismatch",
    summary: "the target answered the health check with a status that does not pass",
    explanation: "The answer came in time, complete and valid; only its status is not one that the prober accepts. \
        301 and 302: the path redirects, often to HTTPS or a login. 401 and 403: it wants credentials. 404: the path \
        does not exist, or the Host does not select the right site. 5xx: the program itself says that it is not well.\n\n\
        Which codes pass is a setting and not on the wire: without it the default of the prober is taken.",
    seen_as: &[
        (
            "AWS ALB",
            "Target.ResponseCodeMismatch; health check log: ResponseCodeMismatch, for 5xx TargetError",
        ),
        ("AWS NLB", "Target.FailedHealthChecks"),
        ("HAProxy", "L7STS"),
        ("Envoy", "ACTIVE"),
        ("kubelet", "HTTP probe failed with statuscode: 404"),
        ("Azure", "Status code mismatch"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(503),
    confirm: &["Ask the target for the same path with the same Host: curl -i -H 'Host: ...'."],
    fix: &[
        "Check a path that answers 200 without credentials and redirect, or set the matcher to the code it gives",
        "For 5xx: repair what the program complains of",
    ],
    wireshark: &[
        ("http.response.code >= 300", "answers that usually fail"),
        ("http.location", "redirects: where to"),
    ],
    references: &[ALB, ALB_LOG, NLB, HAPROXY, ENVOY],
    detect: |_| None,
};

/// Wrong body.
pub static BODY_MISMATCH: Cause = Cause {
    id: "hc-body-mismatch",
    summary: "the answer to the health check lacks the text that the prober expects",
    explanation: "Some probers look for a text in the body. Which text they expect is not on the wire, so this outcome \
        shows only by what the prober does next: HAProxy checks again after fastinter, not inter, when a check failed. Where \
        nothing shows it, an answer with another body than before passes, with a note.",
    seen_as: &[
        ("AWS ALB log", "ResponseStringMismatch"),
        ("HAProxy", "L7RSP"),
        ("Azure", "Body mismatch"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(503),
    confirm: &["Compare the body with the text that the check's settings expect."],
    fix: &["Return the expected text, or correct it in the settings of the check"],
    wireshark: &[("http.file_data", "bodies of answers")],
    references: &[ALB_LOG, HAPROXY],
    detect: |_| None,
};

/// Wrong gRPC status.
pub static GRPC_MISMATCH: Cause = Cause {
    id: "hc-grpc-mismatch",
    summary: "the gRPC status of the answer to the health check does not pass",
    explanation: "A gRPC check passes on certain grpc-status values: 12 (UNIMPLEMENTED) by default at an Application \
        Load Balancer, 0 with status SERVING elsewhere. It is seen only where the status is in a header of the \
        response; HTTP/2 trailers are not read.",
    seen_as: &[
        (
            "AWS ALB",
            "Target.ResponseCodeMismatch; health check log: GRPCUnexpectedStatus, GRPCStatusHeaderEmpty",
        ),
        ("Envoy", "ACTIVE"),
    ],
    responsible: Responsible::Configuration,
    typical_status: Some(503),
    confirm: &[
        "Call the method of the check with grpcurl and compare its status with the matcher.",
    ],
    fix: &[
        "Implement the method of the check, or set the matcher to the status that the target gives",
    ],
    wireshark: &[("grpc", "calls of gRPC"), ("http2.headers.status", "statuses of HTTP/2")],
    references: &[ALB, ALB_LOG, "https://grpc.io/docs/guides/health-checking/"],
    detect: |_| None,
};

/// No HTTP.
pub static MALFORMED: Cause = Cause {
    id: "hc-malformed",
    summary: "the answer to the health check is not valid HTTP",
    explanation: "Bytes came back that are no HTTP response, or one that no proxy accepts. The usual reason is a port \
        that speaks something else: TLS, HTTP/2 without negotiation, SSH, a database.",
    seen_as: &[
        ("AWS", "Target.FailedHealthChecks"),
        ("HAProxy", "L7RSP, invalid response"),
        ("kubelet", "malformed HTTP response"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(503),
    confirm: &["Look at the first bytes of the answer in the frame that the report names."],
    fix: &[
        "Check the port and protocol that the program serves, or correct the program's response",
    ],
    wireshark: &[
        ("_ws.malformed", "what Wireshark cannot read"),
        ("tcp.len > 0 and !http and !tls", "bytes that are neither HTTP nor TLS"),
    ],
    references: &["RFC 9112, 4", ALB, HAPROXY],
    detect: |_| None,
};

/// Connection without data.
pub static PROBE_NO_DATA: Cause = Cause {
    id: "hc-probe-no-data",
    summary: "a connection test without data: neither passed nor failed",
    explanation: "The prober opened a connection, sent nothing and closed it, beside other checks that carry data. A \
        Network Load Balancer with a TLS listener tests its targets so; a Classic Load Balancer opens connections in \
        advance. These are no failed requests, and they say nothing of the program behind the port.",
    seen_as: &[(
        "AWS NLB",
        "connections from the load balancer's address without data, of TLS listeners",
    )],
    responsible: Responsible::Unknown,
    typical_status: None,
    confirm: &["Look whether the same source also sends checks with data."],
    fix: &["Nothing to fix; if they fill a log, leave the load balancer's addresses out there"],
    wireshark: &[("!(tcp.completeness & 8)", "connections without data")],
    references: &[
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html",
    ],
    detect: |_| None,
};
