//! the load balancer had no free local port for one more connection to the target.

use super::{Case, Cause, Responsible, Verdict};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "local-port-exhaustion",
    summary: "the load balancer had no free local port for one more connection to the target",
    explanation: "\
        Each connection to one address and port needs a local port of its own. Linux chooses \
        from 28 232 of them (net.ipv4.ip_local_port_range), and the side that closes first \
        keeps a port in TIME_WAIT for 60 s. A proxy that opens a new connection for each \
        request runs out at about 470 requests a second to one target.\n\n\
        Then connect() fails with EADDRNOTAVAIL before any packet is sent: the front leg shows \
        an error at once and no attempt belongs to it. Shortly before, the capture shows very \
        many short connections to that target, closed by the proxy. When a port is reused \
        while the target still holds the old connection, tuple-collision is seen instead. A \
        NAT gateway has the same limit: 55 000 connections to one destination.\n\n\
        Packets alone cannot show it, because nothing is sent. The load balancer's error log \
        and the counters of its host (sockets in TIME_WAIT, the port range) do: why502 host \
        reads them.",
    seen_as: &[
        ("AWS ALB", "not known to happen there; a NAT gateway counts ErrorPortAllocation"),
        ("HAProxy", "503, termination state SC; RC where it has no source port left"),
        ("nginx", "502, (99: Cannot assign requested address) while connecting to upstream"),
        ("Envoy", "503, flag UF, Cannot assign requested address"),
        ("Apache", "503, (99)Cannot assign requested address"),
    ],
    responsible: Responsible::LoadBalancer,
    typical_status: Some(502),
    confirm: &[
        "Look for error 99 or \"Cannot assign requested address\" in the load balancer's error \
         log",
        "Count sockets to that target: ss -tan state time-wait dst <target> | wc -l, and \
         compare with sysctl net.ipv4.ip_local_port_range",
        "Look in the capture how many connections to the target were opened and closed in the \
         minute before",
    ],
    fix: &[
        "Keep connections to targets open: nginx keepalive in the upstream block with \
         proxy_http_version 1.1, HAProxy http-reuse, Apache without disablereuse",
        "Widen the range: sysctl net.ipv4.ip_local_port_range=\"1024 65535\"",
        "Give the proxy more source addresses, or the target more addresses or ports",
        "Allow early reuse of ports: net.ipv4.tcp_tw_reuse=1",
    ],
    wireshark: &[("tcp.flags.syn == 1 and tcp.flags.ack == 0", "connections opened")],
    references: &[
        "Linux, ip-sysctl: \
         https://docs.kernel.org/networking/ip-sysctl.html",
        "RFC 6056 (choice of ports): \
         https://www.rfc-editor.org/rfc/rfc6056",
        "nginx, upstream module: \
         https://nginx.org/en/docs/http/ngx_http_upstream_module.html",
    ],
    detect,
};

/// The packets of one connection never show it: it takes both legs of the proxy, or its log.
fn detect(_: &Case<'_>) -> Option<Verdict> {
    None
}
