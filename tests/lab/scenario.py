"""What a scenario is, and how one run of it becomes a folder with two captures and the truth."""

import itertools
import json
import os
import platform
import re
import subprocess
import time

import tls_settings
import truth
import wire
from client import Client
from proxies import CLIENT_ADDRESS, PROXIES, Verdict
from world import LB, PORT, TARGET, LabError, World

ALL = ("nginx", "haproxy", "apache")
BOTH = ("nginx", "haproxy")
FOUR = (*ALL, "envoy")
STATUS = {"204": 204, "304": 304, "404": 404, "100": 201, "ws": 101, "early-413": 413, "avatar": 304, "coupon": 404}
SCENARIOS = {}


class Scenario:
    """A named way to make traffic, with the options of the network it needs."""

    def __init__(self, name, play, **options):
        self.name, self.play = name, play
        self.description = options.pop("description", None) or " ".join((play.__doc__ or "").split())
        self.proxies = options.pop("proxies", BOTH)
        self.quick = options.pop("quick", False)
        self.healthy = options.pop("healthy", False)
        self.backend = options.pop("backend", ())
        self.proxy_options = options.pop("proxy", {})
        self.port_range = options.pop("port_range", None)
        self.delay = options.pop("delay", 0.025)
        self.more = options.pop("more", ())
        self.needs = options.pop("needs", ())
        self.capture = options.pop("capture", None)
        self.tls = options.pop("tls", {})
        self.keys = options.pop("keys", False)
        self.needs += ("openssl",) * bool(self.tls) + ("editcap",) * self.keys
        self.ids = options.pop("ids", name)
        self.port = options.pop("port", PORT)
        if options:
            raise TypeError(f"unknown scenario options {options}")


def scenario(name, **options):
    """Decorator: register a function as a scenario."""
    def register(play):
        SCENARIOS[name] = Scenario(name, play, **options)
        return play
    return register


class Lab:
    """What a scenario's function works with."""

    def __init__(self, world, proxy):
        self.world, self.proxy = world, proxy
        self.address = CLIENT_ADDRESS.get(proxy.name, ("127.0.0.1", 8000))
        self.records = []
        self.own_ports = None
        self.checks = []
        self.probers, self.bystanders, self.outages, self.notes = [], [], [], {}
        self.connections = []
        self.spoils = None  # the outcome that the outage of this moment should have

    def client(self, timeout=15.0):
        """A new client connection to the proxy (or to the backend, without one)."""
        source = ("127.0.0.1", next(self.own_ports)) if self.own_ports else None
        return Client(self.address, timeout, source)

    def record(self, fault, target, method="GET", expected=200, connect=False):
        """Take down that a request is going to be sent."""
        entry = {"id": target.split("/")[3], "target": target, "method": method, "expected": expected,
                 "fault": fault, "connect": connect, "seen": None}
        self.records.append(entry)
        return entry

    def ask(self, name="length", kind="h", method="GET", *, fault=None, body=b"", headers=(), client=None,
            connect=False, suffix="", pause=0.0):
        """Send one request, by default on a connection of its own; return what the client saw.

        `fault` names the entry of truth.CAUSES that should make this request fail.
        """
        target = f"/{kind}/{name}/{self.world.new_id()}{suffix}"
        entry = self.record(fault, target, method, STATUS.get(name, 200), connect)
        own = client is None
        client = client or self.client()
        entry["seen"] = client.ask(entry["id"], target, method, body, headers, pause)
        if own:
            client.close()
        return entry["seen"]

    def fail(self, name, method="GET", **options):
        """Send a request that the backend is going to spoil."""
        return self.ask(name, "f", method, fault=name, **options)

    def verdict(self, entry, deadline):
        """The proxy's word on a request, or if it stays silent the client's."""
        while True:
            verdict = self.proxy.verdict(entry["id"], entry["expected"])
            if verdict or time.monotonic() > deadline or self.proxy.name == "direct":
                break
            time.sleep(0.05)
        if verdict:
            verdict.silent = False
            return verdict
        seen = entry["seen"]
        good = seen is not None and seen.end == "complete" and seen.status == entry["expected"]
        text = seen.text() if seen else f"client: {entry['method']} {entry['target']}: given up by the client"
        if self.proxy.name != "direct":
            text = f"{self.proxy.name} logged nothing; " + text
        verdict = Verdict(good, text, seen.status if seen else None)
        verdict.silent = True
        return verdict


def versions():
    """The versions of everything that had a part in a capture."""
    found = {"kernel": platform.release(), "python": platform.python_version()}
    for name, command in (("nginx", ["nginx", "-v"]), ("haproxy", ["haproxy", "-v"]), ("apache", ["apache2", "-v"]),
                          ("envoy", ["envoy", "--version"]), ("curl", ["curl", "--version"]),
                          ("wget", ["wget", "--version"]), ("tcpdump", ["tcpdump", "--version"])):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
            match = re.search(r"\d+\.\d+[.\w+~-]*", done.stdout + done.stderr)
            found[name] = match.group(0) if match else "unknown"
        except FileNotFoundError:
            pass
    return found


def judge(lab, plan):
    """The truth of a run, and a list of what is wrong with it."""
    requests, connections, problems, missed = [], {}, [], []
    deadline, proxy = time.monotonic() + 1.5, lab.proxy.name
    for entry in lab.records:
        verdict = lab.verdict(entry, deadline)
        fault = entry["fault"]
        row = {"id": entry["id"], "target": entry["target"], "method": entry["method"], "ok": verdict.ok,
               "log": verdict.log, "state": verdict.state, "status": verdict.status,
               "cause": {"lb": None, "target": None}}
        if fault in truth.MAY_MISS:
            missed.append(verdict.ok)
        if not verdict.ok and fault is None:
            problems.append(f"a healthy request failed: {verdict.log}")
        if verdict.ok and fault and fault not in truth.MAY_MISS:
            row["tolerated"] = truth.first(truth.labels(fault, proxy)["target"] or truth.labels(fault, proxy)["lb"])
        if not verdict.ok and fault:
            row["cause"] = truth.labels(fault, proxy)
            wrong = truth.disagreement(proxy, fault, verdict, bool(plan.tls))
            if wrong:
                problems.append(wrong)
            row |= truth.handshake(fault, proxy)
            if entry["connect"]:
                connection = connections.setdefault(fault, {"cause": truth.labels(fault, proxy), "count": 0,
                                                            **truth.handshake(fault, proxy), "requests": []})
                connection["count"] += 1
                connection["requests"].append({key: row[key] for key in ("id", "log", "state", "status")})
                continue
        if plan.tls:
            row["sealed"] = truth.sealed(row["cause"], fault)
        requests.append(row)
    if not plan.healthy and missed and all(missed):
        problems.append("no request met the fault")
    if not plan.healthy and not lab.checks and not lab.probers and not any(entry["fault"] for entry in lab.records):
        problems.append("the scenario injected no fault")
    return requests, list(connections.values()), problems


def written(value, deep=1):
    """JSON for people: containers of containers over several lines, all else on one line each."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)) or len(json.dumps(value)) < 100 and deep > 1:
        return json.dumps(value)
    flat = not any(isinstance(item, (dict, list)) and len(item) > 2 for item in inner)
    if flat and deep > 1:
        return json.dumps(value)
    pad = "\n" + " " * deep
    if isinstance(value, dict):
        rows = [f"{json.dumps(key)}: {written(item, deep + 1)}" for key, item in value.items()]
        return "{" + pad + ("," + pad).join(rows) + pad[:-1] + "}"
    return "[" + pad + ("," + pad).join(written(item, deep + 1) for item in value) + pad[:-1] + "]"


def inject(folder, side):
    """Write a copy of a capture that carries its own keys, in a Decryption Secrets Block."""
    subprocess.run(["editcap", "-F", "pcapng", "--inject-secrets", f"tls,{folder}/keys.log", f"{folder}/{side}.pcap",
                    f"{folder}/{side}-secrets.pcapng"], check=True, timeout=20)


def play(plan, proxy_name, folder):
    """Run one scenario with one proxy; write captures and truth; raise LabError if it did not work."""
    os.makedirs(folder, exist_ok=True)
    backend, values = tls_settings.prepare(plan.tls, proxy_name, folder, plan.keys)
    world = World(plan.ids, proxy_name, folder, plan.delay, [*backend, *plan.backend], plan.more, plan.capture)
    values["check"] = f"{values.get('check', '')} {plan.proxy_options.get('check', '')}"
    proxy = PROXIES[proxy_name](world, **plan.proxy_options | values)
    try:
        proxy.start()
        lab = Lab(world, proxy)
        if plan.port_range:
            world.limit_ports(plan.port_range)
            lab.own_ports = itertools.count(30000)
        plan.play(lab)
        requests, connections, problems = judge(lab, plan)
    finally:
        counters = world.finish()
        if not isinstance(proxy, PROXIES["direct"]):
            proxy.stop()
    for side in ("lb", "target"):
        with open(f"{folder}/{side}.pcap", "rb") as file:
            packets = file.read()
        for row in requests:
            row.setdefault("visible", {})[side] = row["id"].encode() in packets
    result = {"scenario": plan.name, "proxy": proxy_name, "versions": versions(), "description": plan.description,
              "delay_ms": plan.delay * 1000, "lb": {"ip": LB}, "target": {"ip": TARGET, "port": plan.port},
              "requests": requests, "connections": connections + lab.connections, "checks": lab.checks}
    if lab.probers or lab.bystanders:
        flights = {side: wire.read(f"{folder}/{side}.pcap") for side in ("lb", "target")}
        result["probers"] = [group.truth(flights, problems) for group in lab.probers]
        result["bystanders"], result["outages"] = lab.bystanders, lab.outages
    if plan.keys or lab.notes.pop("keys", False):
        inject(folder, "lb")
        inject(folder, "target")
    result |= lab.notes
    with open(f"{folder}/truth.json", "w", encoding="utf-8") as file:
        file.write(written(result) + "\n")
    if problems:
        raise LabError("; ".join(problems))
    return counters
