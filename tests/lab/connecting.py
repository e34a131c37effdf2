"""The scenarios in which a connection fails before any request is sent."""

import time

from client import Client, together
from proxies import CLIENT_ADDRESS
from scenario import ALL, SCENARIOS, Scenario, scenario


def asks(lab, fault, count=2, connect=True, **options):
    """`count` requests, one after the other, which fail, by default before any byte of them is sent."""
    for _ in range(count):
        lab.ask(fault=fault, connect=connect, **options)


def spoiled_handshake(fault, how, text):
    """The scenario for a backend that spoils the TLS handshake."""
    SCENARIOS[fault] = Scenario(fault, lambda lab: asks(lab, fault), description=text, quick=how == "alert",
                                tls={"target": {"how": how}, "lb": {}})


spoiled_handshake("tls-fin", "fin", "The backend closes after the ClientHello.")
spoiled_handshake("tls-rst", "rst", "The backend resets after the ClientHello.")
spoiled_handshake("tls-alert-hello", "alert", "The backend answers the ClientHello with a fatal alert.")
spoiled_handshake("tls-plain", "plain", "The backend answers the ClientHello with HTTP in clear.")
spoiled_handshake("tls-stall", "stall", "The backend acknowledges the ClientHello and stays silent.")


@scenario("refused", proxies=ALL, quick=True)
def refused(lab):
    """Nothing listens on the target's port."""
    lab.world.backend.tell("unlisten")
    asks(lab, "refused", 3)


@scenario("reject-rst", proxies=ALL)
def reject_rst(lab):
    """The target's firewall rejects with a TCP reset."""
    lab.world.firewall("target", "tcp dport 8080 reject with tcp reset")
    asks(lab, "reject-rst")


@scenario("reject-icmp", proxies=ALL, quick=True)
def reject_icmp(lab):
    """The target's firewall rejects with ICMP administratively prohibited."""
    lab.world.firewall("target", "tcp dport 8080 reject with icmp type admin-prohibited")
    asks(lab, "reject-icmp")


@scenario("reject-icmp-port")
def reject_icmp_port(lab):
    """The target's firewall rejects with ICMP port unreachable."""
    lab.world.firewall("target", "tcp dport 8080 reject with icmp type port-unreachable")
    asks(lab, "reject-icmp-port")


@scenario("router-icmp")
def router_icmp(lab):
    """A router on the path answers ICMP host unreachable."""
    lab.world.rule(do="icmp", way="to-target", what="syn")
    asks(lab, "router-icmp")


@scenario("net-drop", proxies=ALL, quick=True)
def net_drop(lab):
    """The network drops the SYNs (a security group)."""
    lab.world.rule(do="drop", way="to-target", what="syn")
    asks(lab, "net-drop")


@scenario("host-drop", proxies=ALL, quick=True)
def host_drop(lab):
    """The target's firewall drops the SYNs."""
    lab.world.firewall("target", "tcp dport 8080 drop")
    asks(lab, "host-drop")


@scenario("backlog-full", backend=("--on-accept", "never", "--backlog", "0"))
def backlog_full(lab):
    """The accept queue is full: SYNs arrive and get no answer."""
    address = CLIENT_ADDRESS["direct"]
    fillers = [Client(address)]
    time.sleep(0.2)
    asks(lab, "backlog-full")
    for filler in fillers:
        filler.close()


@scenario("synack-lost", quick=True)
def synack_lost(lab):
    """The way back is blocked: SYN-ACKs leave the target and do not arrive."""
    lab.world.rule(do="drop", way="to-lb", what="syn-ack")
    asks(lab, "synack-lost")


@scenario("tuple-collision", port_range="20000 20000")
def tuple_collision(lab):
    """The load balancer forgot a connection and uses its port again; the target still knows the old one and
    answers the SYN with a plain ACK, and a firewall drops the RST which should clear this up."""
    lab.world.rule(do="drop", way="to-target", what="rst")
    lab.ask()
    time.sleep(0.2)
    lab.world.forget_sockets("lb")
    time.sleep(0.2)
    asks(lab, "tuple-collision", 1)


@scenario("port-exhaustion", port_range="20000 20000", proxy={"server": 10.0})
def port_exhaustion(lab):
    """The load balancer has no source port left: the client gets an error and no packet is sent."""
    together([lambda: lab.ask("slow"), lambda: (time.sleep(0.5), asks(lab, "port-exhaustion"))])
