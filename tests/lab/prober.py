"""Health checkers on plain sockets, each of which keeps the log and the verdicts that its model would keep.

A `Prober` is one load balancer node (or one kubelet).  It opens a new connection for each check, measures
interval start-to-start, gives up after its time-out, and counts results: one pass ends `initial`, then as
many results in a row as the threshold says move the state.  Its log is the truth of a capture: what the
packets show is judged against what the prober itself experienced.
"""

import re
import socket
import ssl
import struct
import threading
import time

LINGER_0 = struct.pack("ii", 1, 0)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
# Reason codes of an ALB's health check log
REASONS = {"hc-pass": "-", "hc-refused": "ConnectionReset", "hc-closed": "ConnectionReset",
           "hc-connect-timeout": "TimedOut", "hc-timeout": "TimedOut", "hc-tls-timeout": "TimedOut",
           "hc-status-mismatch": "ResponseCodeMismatch"}
# Reason codes of a target's state
STATE_REASONS = {"hc-connect-timeout": "Target.Timeout", "hc-timeout": "Target.Timeout",
                 "hc-tls-timeout": "Target.Timeout", "hc-status-mismatch": "Target.ResponseCodeMismatch"}


class Failed(Exception):
    """A check failed; the argument is its outcome, and if there was one the status."""


class Settings:
    """The settings of a target group's check, with the shape of its request."""

    def __init__(self, lb_type, protocol="http", path="/health", port=8080, interval=0.5, timeout=0.3,
                 healthy=3, unhealthy=2, matcher="200", close="fin"):
        self.lb_type, self.protocol, self.path, self.port = lb_type, protocol, path, port
        self.interval, self.timeout, self.healthy, self.unhealthy = interval, timeout, healthy, unhealthy
        self.matcher, self.close = matcher, close

    def accepts(self, status):
        """Whether the matcher takes this status for a pass."""
        for part in self.matcher.split(","):
            low, _, high = part.partition("-")
            if int(low) <= status <= int(high or low):
                return True
        return False

    def truth(self):
        """The settings as the truth file has them."""
        http = self.protocol in ("http", "https")
        return {"lb_type": self.lb_type, "protocol": self.protocol, "port": self.port,
                "path": self.path if http else None, "interval_s": self.interval, "timeout_s": self.timeout,
                "healthy": self.healthy, "unhealthy": self.unhealthy, "matcher": self.matcher if http else None}


def lines(*fields):
    """A request from its lines."""
    return "\r\n".join(fields).encode() + b"\r\n\r\n"


def alb(settings, node, server):
    """The request of an ALB node: Host is the target, and nothing is forwarded."""
    return lines(f"GET {settings.path} HTTP/1.1", f"Host: {server[0]}:{server[1]}", "Connection: close",
                 "User-Agent: ELB-HealthChecker/2.0", "Accept-Encoding: gzip, compressed")


def nlb(settings, node, server, listener=443):
    """The request of an NLB node: Host is the node itself with the listener's port."""
    return lines(f"GET {settings.path} HTTP/1.1", f"Host: {node}:{listener}", "Connection: close",
                 "User-Agent: ELB-HealthChecker/2.0", "Accept-Encoding: gzip, compressed")


def kubelet(settings, node, server):
    """The request of a kubelet, in the order of Go's HTTP client."""
    return lines(f"GET {settings.path} HTTP/1.1", f"Host: {server[0]}:{server[1]}", "User-Agent: kube-probe/1.29",
                 "Accept: */*", "Connection: close")


REQUESTS = {"alb": alb, "nlb": nlb, "kubelet": kubelet}


class Health:
    """The state of a target as one node sees it."""

    def __init__(self, settings):
        self.settings, self.state, self.row = settings, "initial", 0

    def take(self, passed):
        """Count one result; return the new state if it changed."""
        wanted = "healthy" if passed else "unhealthy"
        if self.state == wanted:
            self.row = 0
            return None
        self.row += 1
        enough = self.settings.healthy if passed else self.settings.unhealthy
        if self.row < enough and not (passed and self.state == "initial"):
            return None
        self.state, self.row = wanted, 0
        return wanted


class Prober:
    """One node: it checks one target until it is stopped."""

    late = None  # seconds from the logged start to the first packet, if a program has to be started first

    def __init__(self, settings, node, server, first=0.0):
        self.settings, self.node, self.server, self.first = settings, node, server, first
        self.checks, self.transitions = [], []
        self.health = Health(settings)
        self.deadline = 0.0  # when the newest check is or was given up, on the monotonic clock
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.context = None
        if settings.protocol == "https":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
            if settings.lb_type == "nlb":
                self.context.maximum_version = ssl.TLSVersion.TLSv1_2  # an NLB's checks cannot use TLS 1.3

    def start(self):
        """Begin, `first` seconds from now."""
        self.thread.start()
        return self

    def stop(self):
        """End after the check that is running."""
        self.over.set()
        self.thread.join(self.settings.timeout + 5)

    def run(self):
        """Check, and start the next check one interval after the start of this one."""
        due = time.monotonic() + self.first
        while not self.over.wait(max(0.0, due - time.monotonic())):
            self.check()
            due += self.settings.interval

    def check(self):
        """Make one check and take down what it came to."""
        began, clock = time.time(), time.monotonic()
        self.deadline = clock + self.settings.timeout
        sock = socket.socket()
        try:
            sock.bind((self.node, 0))
            source, status, outcome = sock.getsockname(), None, "hc-pass"
            try:
                status = self.probe(sock, self.deadline)
            except Failed as failure:
                outcome, *rest = failure.args
                status = rest[0] if rest else None
        finally:
            took = time.monotonic() - clock
            if self.settings.close == "rst":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            sock.close()
        self.note(began, took, source, outcome, status)

    def note(self, began, took, source, outcome, status):
        """Write the log line of a check and count its result."""
        number = len(self.checks) + 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began)) + f".{int(began % 1 * 1e6):06}Z"
        passed = outcome == "hc-pass"
        reason = "TargetError" if status and status >= 500 and not passed else REASONS.get(outcome, "InternalError")
        log = (f"{self.settings.protocol} {stamp} {took:.9f} {self.server[0]}:{self.server[1]} lab "
               f"{'PASS' if passed else 'FAIL'} {status or '-'} {reason} app/lab/{self.settings.lb_type} {self.node}")
        self.checks.append({"number": number, "node": self.node, "time": began, "end": began + took,
                            "source": {"ip": source[0], "port": source[1]}, "outcome": outcome, "status": status,
                            "latency_s": round(took, 6), "log": log})
        state = self.health.take(passed)
        if state:
            self.transitions.append({"time": began + took, "node": self.node, "check": number, "state": state,
                                     "reason": None if passed else STATE_REASONS.get(outcome,
                                                                                     "Target.FailedHealthChecks")})

    def probe(self, sock, deadline):
        """Connect, ask, judge; return the status.  Raises Failed."""
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(self.server)
        except TimeoutError:
            raise Failed("hc-connect-timeout") from None
        except OSError:
            raise Failed("hc-refused") from None
        if self.settings.protocol in ("tcp", "none"):
            return None
        if self.context:
            sock = self.secure(sock, deadline)
        request = REQUESTS[self.settings.lb_type](self.settings, self.node, self.server)
        try:
            sock.sendall(request)
            status = self.answer(sock, deadline)
        except TimeoutError:
            raise Failed("hc-timeout") from None
        except OSError:
            raise Failed("hc-closed") from None
        finally:
            if self.context:
                sock.close()
        if not self.settings.accepts(status):
            raise Failed("hc-status-mismatch", status)
        return status

    def secure(self, sock, deadline):
        """The TLS handshake."""
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            return self.context.wrap_socket(sock)
        except TimeoutError:
            raise Failed("hc-tls-timeout") from None
        except OSError:
            raise Failed("hc-tls-failed") from None

    def answer(self, sock, deadline):
        """Read one whole answer; return its status."""
        data = b""
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            more = sock.recv(65536)
            data += more
            if data and not b"HTTP/1.".startswith(data[:7]):
                raise Failed("hc-malformed")
            if b"\r\n" in data and not STATUS_LINE.match(data):
                raise Failed("hc-malformed")
            head, found, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head) if found else None
            if found and (not more or length and len(body) >= int(length.group(1))):
                return int(STATUS_LINE.match(data).group(1))
            if not more:
                raise Failed("hc-closed")

