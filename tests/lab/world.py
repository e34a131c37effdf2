"""One small network: a load balancer, a cable, a target, and tcpdump at both ends.

The calling process must already be alone in its own network, mount and PID namespaces (lab.py starts
it with unshare(1)); its network namespace is the load balancer's side.  The target's namespace belongs
to the backend process.  Nothing has a name outside, so nothing can be left behind.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

from live import Live

HERE = os.path.dirname(os.path.abspath(__file__))
LB, TARGET, PORT = "192.0.2.10", "198.51.100.20", 8080
# Other addresses at the load balancer's end: further nodes of it, and hosts that are no load balancer.
NODES = [LB, "192.0.2.11", "192.0.2.12"]
OFFICE, MONITOR, STRANGER = "192.0.2.77", "192.0.2.90", "203.0.113.66"
MACS = {LB: "02:00:00:00:02:10", TARGET: "02:00:00:00:64:20"}


class LabError(Exception):
    """The scenario could not be made."""


def run(*command, check=True):
    """Run a command to its end; return its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if check and done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Helper:
    """A child process that answers each line on stdin with "ok"."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expect_ok()

    def expect_ok(self):
        """Wait for the answer."""
        if self.process.stdout.readline().strip() != "ok":
            raise LabError(f"{self.name} did not answer")

    def tell(self, line):
        """Give an order and wait until it is obeyed."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.expect_ok()

    def stop(self):
        """End it by closing its stdin."""
        self.process.stdin.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()


class World:
    """The network of one scenario run."""

    def __init__(self, scenario, proxy, folder, delay, backend_options, more=(), capture=None):
        self.scenario, self.proxy, self.folder, self.delay = scenario, proxy, folder, delay
        self.requests, self.connections, self.serial = [], [], 0
        self.dumps, self.lives = [], []
        os.makedirs(folder, exist_ok=True)
        self.backend = Helper("backend", ["unshare", "-n", sys.executable, f"{HERE}/backend.py",
                                          "--port", str(PORT), *backend_options])
        self.target_pid = self.backend.process.pid  # unshare replaces itself by the program
        self.cable = Helper("cable", [sys.executable, f"{HERE}/cable.py", "--lb-pid", str(os.getpid()),
                                      "--target-pid", str(self.target_pid), "--delay", str(delay)])
        self.configure([], LB, TARGET)
        self.configure(self.inside(), TARGET, LB)
        for address in more:
            self.add_address(address)
        filters = {"lb": "tcp or icmp", "target": "tcp or icmp", **(capture or {})}
        self.capture("lb", [], filters["lb"])
        self.capture("target", self.inside(), filters["target"], filters.get("interface", "back0"))

    def inside(self):
        """The command prefix that runs something in the target's namespace."""
        return ["nsenter", "-t", str(self.target_pid), "-n"]

    def configure(self, prefix, own, other):
        """Bring up the loopback and the cable's end in one namespace."""
        run(*prefix, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        for command in (f"link set lo up", f"link set back0 address {MACS[own]} up",
                        f"address add {own}/32 dev back0", f"route add {other} dev back0",
                        f"neighbour replace {other} lladdr {MACS[other]} nud permanent dev back0"):
            run(*prefix, "ip", *command.split())

    def add_address(self, address):
        """Give the load balancer's end one more address, known to the target."""
        run("ip", "address", "add", f"{address}/32", "dev", "back0")
        for command in (f"route add {address} dev back0",
                        f"neighbour replace {address} lladdr {MACS[LB]} nud permanent dev back0"):
            run(*self.inside(), "ip", *command.split())

    def capture(self, side, prefix, expression, interface="back0"):
        """Start tcpdump and wait until it listens."""
        dump = subprocess.Popen(
            [*prefix, "tcpdump", "-i", interface, "-s", "0", "-U", "--immediate-mode", "-B", "16384", "-Z", "root",
             "-w", f"{self.folder}/{side}.pcap", expression], stderr=subprocess.PIPE, text=True)
        while "listening on" not in (line := dump.stderr.readline()):
            if not line:
                raise LabError("tcpdump did not start")
        self.dumps.append(dump)
        if program := os.environ.get("WHY502_LIVE"):
            self.lives.append(Live(program, prefix, interface, expression, f"{self.folder}/{side}.live"))

    def limit_ports(self, ports):
        """Let the load balancer's side choose only from these source ports, "first last"."""
        run("sysctl", "-qw", f"net.ipv4.ip_local_port_range={ports}")

    def new_id(self):
        """A request id that is unique in the whole lab, and the same in every run."""
        self.serial += 1
        text = f"{self.scenario}/{self.proxy}/{self.serial}"
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def rule(self, **fields):
        """Add a rule to the cable."""
        self.cable.tell(json.dumps(fields))

    def clear_rules(self):
        """Make the cable a good one again."""
        self.cable.tell('{"clear": true}')

    def firewall(self, side, *rules, hook="input"):
        """Replace the firewall of the `target` or the `lb` by these nftables rules."""
        prefix = self.inside() if side == "target" else []
        run(*prefix, "nft", "flush", "ruleset")
        if rules:
            run(*prefix, "nft", "add table ip lab")
            run(*prefix, "nft", f"add chain ip lab c {{ type filter hook {hook} priority 0; }}")
        for rule in rules:
            run(*prefix, "nft", f"add rule ip lab c {rule}")

    def forget_sockets(self, side):
        """Make one side forget its connections without a word on the wire, as a power cut would."""
        self.firewall(side, "tcp flags & rst == rst drop", hook="output")
        prefix = self.inside() if side == "target" else []
        run(*prefix, "ss", "-K", "state", "established", "( sport = :8080 or dport = :8080 )")
        self.firewall(side)

    def hang(self):
        """Stop the backend's process where it is; its kernel goes on."""
        os.kill(self.target_pid, signal.SIGSTOP)

    def wake(self):
        """Let the backend's process go on."""
        os.kill(self.target_pid, signal.SIGCONT)

    def finish(self):
        """Let the last packets arrive, then stop everything; return tcpdump's counters."""
        time.sleep(2 * self.delay + (1.5 if self.lives else 0.3))
        for live in self.lives:
            live.stop()
        counters = []
        for dump in self.dumps:
            dump.send_signal(signal.SIGINT)
            text = dump.stderr.read()
            dump.wait(5)
            counters.append(text)
            if not re.search(r"^0 packets dropped by kernel", text, re.MULTILINE):
                raise LabError("tcpdump lost packets: " + text.strip())
        self.backend.stop()
        self.cable.stop()
        return counters
