#!/usr/bin/env python3
"""Both legs of real proxies in one capture, and what the proxies' own logs say of each attempt.

    python3 tests/lab/legs.py --out DIR [--proxy nginx,haproxy] [--requests 400] [--ship captures/]

The proxy stands in a namespace of its own, with its clients and targets in another one. `two-armed`: clients
come in over another interface and address than the one that targets are asked from, captured with `-i any`;
`one-armed`: one interface, one address. Each request carries `X-Lab`, a header that means nothing to anybody, which
the proxy and the targets log: so each attempt is known by its connection. Targets fail by their port, see
legs_target.py; the path chooses the group of targets.

Leaves `DIR/<proxy>-<arms>.pcap.gz`, the same of the targets' side, and `DIR/<proxy>-<arms>.json`: for each request
its client port and position on its connection, the status that the proxy logged, and the attempts: port of the target,
port of the proxy (null for connections that failed), and position on that connection.
"""

import argparse
import gzip
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from legs_target import BUSY, CLOSING, GOOD, GOOD_TOO, REFUSING, RESETTING, SILENT
from legs_proxies import CONFIGURATIONS, read_log

HERE = os.path.dirname(os.path.abspath(__file__))
BACK, FRONT, TARGET = "192.0.2.10", "203.0.113.254", "198.51.100.20"
CLIENTS = [f"203.0.113.{last}" for last in range(1, 5)]
PORT = 8000
# Groups of targets, by the first part of the path.
GROUPS = {"good": [GOOD, GOOD_TOO], "retry": [RESETTING, CLOSING, GOOD], "dead-retry": [REFUSING, GOOD],
          "busy-retry": [BUSY, GOOD], "reset": [RESETTING], "closed": [CLOSING], "dead": [REFUSING],
          "busy": [BUSY], "slow": [SILENT]}
AGENTS = ["lab-phone/1.0", "lab-desktop/2.0", "lab-robot/3.0"]


def run(*command):
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


def arms(pid, one_armed):
    """Join this namespace (the proxy's) and that of process `pid`; return the proxy's address for clients."""
    links = [("arm0", BACK)] + ([] if one_armed else [("arm1", FRONT)])
    run("ip", "link", "set", "lo", "up")
    inside = ["nsenter", "-t", str(pid), "-n"]
    run(*inside, "ip", "link", "set", "lo", "up")
    for name, own in links:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", str(pid))
        run("ip", "address", "add", f"{own}/32", "dev", name)
        run("ip", "link", "set", name, "up")
        run(*inside, "ip", "link", "set", name, "up")
        run(*inside, "ip", "route", "add", own, "dev", name)
    for address in (TARGET, *CLIENTS):
        name = "arm0" if one_armed or address == TARGET else "arm1"
        run(*inside, "ip", "address", "add", f"{address}/32", "dev", name)
        run("ip", "route", "add", address, "dev", name)
    return BACK if one_armed else FRONT


def dump(prefix, interface, path):
    """Start tcpdump and wait until it listens."""
    process = subprocess.Popen([*prefix, "tcpdump", "-i", interface, "-s", "0", "-U", "--immediate-mode", "-B", "16384",
                                "-Z", "root", "-w", path, "tcp or icmp"], stderr=subprocess.PIPE, text=True)
    while "listening on" not in (line := process.stderr.readline()):
        if not line:
            raise SystemExit("tcpdump did not start")
    return process


def read_answer(sock, method):
    """The status of one answer, and whether the connection stays open; status None without an answer."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        data = sock.recv(65536)
        if not data:
            return None, False
        buffer += data
    head, _, rest = buffer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    left = 0 if method == "HEAD" or not length else int(length.group(1)) - len(rest)
    while left > 0:
        data = sock.recv(65536)
        if not data:
            return int(head[9:12]), False
        left -= len(data)
    chunked = b"chunked" in head.lower()
    while chunked and not rest.endswith(b"0\r\n\r\n"):
        rest += sock.recv(65536)
    return int(head[9:12]), b"connection: close" not in head.lower()


def visit(address, source, plan, seen):
    """One client: makes its requests on connections that it keeps as long as the proxy does."""
    sock, number = None, 0
    for method, target, agent, request_id, patience in plan:
        if sock is None:
            sock = socket.create_connection((address, PORT), timeout=15, source_address=(source, 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = 0
        number += 1
        port = sock.getsockname()[1]
        lab = f"{source}:{port}-{number}"
        body = b"item=42&" * 20 if method == "POST" else b""
        lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", f"User-Agent: {agent}", f"X-Lab: {lab}"]
        lines += [f"X-Request-Id: {request_id}"] * bool(request_id)
        lines += [f"Content-Length: {len(body)}"] * bool(body)
        status, keep = None, False
        try:
            sock.settimeout(patience or 15)
            sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            status, keep = read_answer(sock, method)
        except OSError:
            pass
        seen.append({"lab": lab, "ip": source, "port": port, "number": number, "method": method, "target": target,
                     "seen": status, "left": bool(patience) and status is None})
        if not keep:
            sock.close()
            sock = None
        time.sleep(random.uniform(0, 0.004))
    if sock:
        sock.close()


def plans(count, rewriting):
    """What each client asks: popular and unique targets, with and without ids."""
    names = ["good"] * 10 + ["rewritten"] * 2 * rewriting + [name for name in GROUPS if name != "good"] + ["refuse"]
    for _ in range(8):
        plan = []
        for _ in range(count // 8):
            name = random.choice(names)
            rest = random.choice(["", "cart", "item?id=7", f"item?id={random.getrandbits(32)}"])
            method = random.choice(["GET"] * 6 + ["HEAD", "POST"])
            if name in ("retry", "dead-retry", "busy-retry"):
                method = "GET"
            request_id = f"{random.getrandbits(64):016x}" if random.random() < 0.2 else None
            patience = 0.3 if name == "slow" and random.random() < 0.5 else None
            plan.append((method, f"/{name}/{rest}", random.choice(AGENTS), request_id, patience))
        yield plan


def truth(seen, folder, proxy):
    """What the proxy's and the targets' logs say of each request."""
    with open(f"{folder}/targets.log", encoding="utf-8") as file:
        asked = [json.loads(line) for line in file]
    logged = read_log(proxy, folder)
    rows = []
    for entry in seen:
        made = [row for row in asked if row["lab"] == entry["lab"]]
        line = logged.get(entry["lab"])
        attempts = [{"port": row["port"], "peer": row["peer"], "number": row["number"]}
                    for row in sorted(made, key=lambda row: row["time"])]
        # Connections that failed are in the proxy's log only: how many of its tries no target has seen.
        tries = line["tries"] if line else None
        rows.append({**entry, "status": line["status"] if line else None, "attempts": attempts, "tries": tries})
    return rows


def play(proxy, one_armed, folder, count):
    """One run, inside its own namespaces."""
    random.seed(f"{proxy}{one_armed}")
    os.makedirs(folder, exist_ok=True)
    targets = subprocess.Popen(["unshare", "-n", sys.executable, f"{HERE}/legs_target.py", f"{folder}/targets.log"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    targets.stdout.readline()
    address = arms(targets.pid, one_armed)
    inside = ["nsenter", "-t", str(targets.pid), "-n"]
    command, rewriting = CONFIGURATIONS[proxy](folder, address, PORT, TARGET, GROUPS)
    with open(f"{folder}/start.log", "w", encoding="utf-8") as start, \
            open(f"{folder}/stdout.log", "w", encoding="utf-8") as out:
        server = subprocess.Popen(command, stderr=start, stdout=out)
    for _ in range(100):
        try:
            socket.create_connection((address, PORT), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    dumps = [dump([], "arm0" if one_armed else "any", f"{folder}/proxy.pcap"),
             dump(inside, "arm0", f"{folder}/target.pcap")]
    time.sleep(0.2)
    clients = subprocess.run([*inside, sys.executable, os.path.abspath(__file__), "--clients", address,
                              str(count), str(int(rewriting)), f"{proxy}{one_armed}"], check=True, timeout=110,
                             capture_output=True, text=True)
    time.sleep(1.5)
    for process in dumps:
        process.send_signal(signal.SIGINT)
        text = process.stderr.read()
        process.wait(5)
        if not re.search(r"^0 packets dropped by kernel", text, re.MULTILINE):
            raise SystemExit("tcpdump lost packets: " + text)
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
    rows = truth(json.loads(clients.stdout), folder, proxy)
    targets.stdin.close()
    targets.wait(5)
    name = f"{os.path.dirname(folder)}/{proxy}-{'one-armed' if one_armed else 'two-armed'}"
    for side in ("proxy", "target"):
        with open(f"{folder}/{side}.pcap", "rb") as source, gzip.GzipFile(f"{name}-{side}.pcap.gz", "wb", mtime=0) as out:
            shutil.copyfileobj(source, out)
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        file.write(f'{{"proxy": "{proxy}", "requests": [\n  {lines}\n]}}\n')


def clients(address, count, rewriting, seed):
    """All clients at once; print what they saw."""
    random.seed(seed)
    seen, threads = [], []
    for nth, plan in enumerate(plans(count, rewriting)):
        threads.append(threading.Thread(target=visit, args=(address, CLIENTS[nth % 4], plan, seen)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(seen))


def main():
    """Parse the arguments and run."""
    if len(sys.argv) > 1 and sys.argv[1] == "--clients":
        return clients(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    if len(sys.argv) > 1 and sys.argv[1] == "--inside":
        return play(sys.argv[2], sys.argv[3] == "one-armed", sys.argv[4], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--proxy", default="nginx,haproxy,apache")
    parser.add_argument("--arms", default="two-armed,one-armed")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--ship", metavar="DIR", help="copy captures and truth to this folder")
    args = parser.parse_args()
    failed = 0
    for proxy in args.proxy.split(","):
        for way in args.arms.split(","):
            folder = os.path.join(os.path.abspath(args.out), f"{proxy}-{way}")
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            done = subprocess.run(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork",
                                   "--kill-child", "--mount-proc", "--propagation", "unchanged", sys.executable,
                                   os.path.abspath(__file__), "--inside", proxy, way, folder, str(args.requests)],
                                  timeout=150, check=False)
            failed += done.returncode != 0
            for name in (f"{proxy}-{way}-proxy.pcap.gz", f"{proxy}-{way}-target.pcap.gz", f"{proxy}-{way}.json"):
                if args.ship and done.returncode == 0 and not (name.endswith("target.pcap.gz")):
                    os.makedirs(args.ship, exist_ok=True)
                    shutil.copyfile(os.path.join(os.path.abspath(args.out), name), os.path.join(args.ship, name))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
