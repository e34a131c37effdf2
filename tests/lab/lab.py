#!/usr/bin/env python3
"""The lab: real captures of real faults behind real proxies, labelled by the proxies' own logs.

    python3 tests/lab/lab.py --out DIR [--proxy nginx] [--only read-fin,refused] [--quick]
    python3 tests/lab/lab.py --list
    python3 tests/lab/lab.py --ship captures/

Each scenario runs in namespaces of its own, several at once, and leaves `DIR/<scenario>/<proxy>/` with
`lb.pcap` and `target.pcap` (the same packets seen at both ends of the path), `truth.json`, and the proxy's
configuration and logs.  The exit code is 1 if a scenario could not be made, 2 if the lab cannot run here.
"""

import argparse
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import time

import absence  # noqa: F401  (registers its scenarios)
import alb  # noqa: F401  (registers its scenarios)
import bystanders  # noqa: F401  (registers its scenarios)
import checks  # noqa: F401  (registers its scenarios)
import connecting  # noqa: F401  (registers its scenarios)
import handshakes  # noqa: F401  (registers its scenarios)
import health  # noqa: F401  (registers its scenarios)
import health_tls  # noqa: F401  (registers its scenarios)
import healthy  # noqa: F401  (registers its scenarios)
import healthy_tls  # noqa: F401  (registers its scenarios)
import real  # noqa: F401  (registers its scenarios)
import record  # noqa: F401  (registers its scenarios)
import scenarios  # noqa: F401  (registers its scenarios)
import sealed  # noqa: F401  (registers its scenarios)
from proxies import PROXIES
from scenario import SCENARIOS, play
from ship import ship
from world import LabError

TOOLS = ["setpriv", "unshare", "nsenter", "ip", "ss", "nft", "sysctl", "tcpdump"]
SCENARIO_TIMEOUT = 120
# A busy machine can miss the moment that a scenario is about (a check that found a stopped process instead of its
# answer); the scenario's own log shows that, and it is made again so many times at most.
ATTEMPTS = 3
running = set()


def missing():
    """What the lab lacks on this machine, in words."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("root (namespaces and TAP interfaces need it)")
    if not os.path.exists("/dev/net/tun"):
        lacks.append("/dev/net/tun (modprobe tun)")
    lacks += [f"the program {tool}" for tool in TOOLS if not shutil.which(tool)]
    return lacks


def work(name, proxy, folder):
    """The part of a run that happens inside its own namespaces (this process was started by unshare)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        play(SCENARIOS[name], proxy, folder)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{name}/{proxy}: {error}", file=sys.stderr)
        return 1
    return 0


def make(name, proxy, out):
    """Run one scenario until its own logs show what it is about; return what is wrong with it, or nothing."""
    for _ in range(ATTEMPTS):
        problem = start(name, proxy, out)
        if not problem:
            break
        print(f"not as planned: {problem}", flush=True)
    return problem


def start(name, proxy, out):
    """Run one scenario in new namespaces; return what is wrong with it, or nothing."""
    folder = os.path.join(out, name, proxy)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    command = ["setpriv", "--pdeathsig", "KILL",
               "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
               # Only /proc is mounted, and privately; "/" need not be a mount point (a chroot's is not).
               "--mount-proc", "--propagation", "unchanged",
               sys.executable, os.path.abspath(__file__), "--inside", name, proxy, folder]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    running.add(process)
    try:
        _, text = process.communicate(timeout=SCENARIO_TIMEOUT)
        return "" if process.returncode == 0 else text.strip() or f"{name}/{proxy}: ended by {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        return f"{name}/{proxy}: not finished after {SCENARIO_TIMEOUT} s"
    finally:
        running.discard(process)


def chosen(args):
    """The (scenario, proxy) pairs to run."""
    only = set(args.only.split(",")) if args.only else None
    if only and only - SCENARIOS.keys():
        sys.exit(f"unknown scenario: {', '.join(sorted(only - SCENARIOS.keys()))}")
    wanted = set(args.proxy.split(",")) if args.proxy else {"nginx", "haproxy", "direct"} | (
        set() if args.quick else {"apache"} | ({"envoy"} if shutil.which("envoy") else set()))
    pairs = []
    for plan in SCENARIOS.values():
        if only and plan.name not in only or args.quick and not plan.quick:
            continue
        pairs += [(plan.name, proxy) for proxy in plan.proxies if proxy in wanted]
    return pairs


def run_all(pairs, out, jobs):
    """Run the pairs, several at once; return the number of failures."""
    began, failures = time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(make, name, proxy, out): (name, proxy) for name, proxy in pairs}
        try:
            for future in concurrent.futures.as_completed(futures):
                if problem := future.result():
                    failures += 1
                    print(f"FAILED {problem}", flush=True)
        except (KeyboardInterrupt, SystemExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.kill()  # --kill-child ends everything inside
            raise
    print(f"{len(pairs) - failures} of {len(pairs)} runs made in {time.monotonic() - began:.0f} s, in {out}")
    return failures


def main():
    """Parse the arguments and run."""
    if len(sys.argv) == 5 and sys.argv[1] == "--inside":
        return work(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"))
    parser.add_argument("--proxy", help=f"only these proxies: {', '.join(PROXIES)}")
    parser.add_argument("--only", help="only these scenarios, separated by commas")
    parser.add_argument("--quick", action="store_true", help="one or two faults of every family, nginx and HAProxy")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--jobs", type=int, default=6, help="how many scenarios run at once")
    parser.add_argument("--ship", metavar="DIR", help="make the shipped set of captures in this folder")
    args = parser.parse_args()
    if args.list:
        for plan in SCENARIOS.values():
            print(f"{plan.name:20} {','.join(plan.proxies):22} {'quick' if plan.quick else '':6} {plan.description}")
        return 0
    pairs = chosen(args)
    lacks = missing() + [f"the server {name} ({PROXIES[name].binary}); choose others with --proxy"
                         for name in sorted({proxy for _, proxy in pairs}) if not shutil.which(PROXIES[name].binary)]
    needed = {tool for name, _ in pairs for tool in SCENARIOS[name].needs}
    lacks += [f"the program {tool}" for tool in sorted(needed) if not shutil.which(tool)]
    if lacks:
        print("the lab cannot run here; it lacks:\n  " + "\n  ".join(lacks), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        failures = run_all(pairs, os.path.abspath(args.out), args.jobs)
    except KeyboardInterrupt:
        return 130
    if args.ship:
        ship(args.out, args.ship)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
