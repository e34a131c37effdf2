"""make bench: why502 beside its peers on captures made here, as tables for people.

Needs root for its network namespace. Captures go to --dir and are kept there for the next run;
what is only needed for one table is deleted at once.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import growth
import logs
import programs
import speed
from record import Recorder

# Bytes that must be free: all that lies there at once, twice.
ROOM = {"full": 16 << 30, "quick": 2 << 30}
# Bytes of traffic, packets of the checks, and by what the floods are divided.
AMOUNTS = {"full": (2_200_000_000, 4_200_000, 1), "quick": (300_000_000, 400_000, 20)}
# Bytes of the traffic with logs.
LOGGED = {"full": 1_000_000_000, "quick": 100_000_000}
# Bytes of the recordings that are multiplied.
UNIT, LIVE_CHECKS = 140_000_000, 40_000_000
# Tables by name, in the order of the report.
TABLES = ["traffic", "checks", "logs", "compressed", "file", "flows", "floods"]
# The recording that each of them uses; the others use none.
RECORDINGS = {"traffic": "traffic", "checks": "checks", "compressed": "unit", "file": "unit"}


def main():
    arguments = parse()
    directory = arguments.dir.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < ROOM[arguments.size]:
        raise SystemExit(f"{directory}: {free >> 30} GB free, {ROOM[arguments.size] >> 30} needed")
    report = directory / "results.md"
    report.write_text("")
    built = programs.Built()
    needed = {RECORDINGS[table] for table in arguments.tables if table in RECORDINGS}
    captures = recorded(built, directory, arguments.size, needed)

    def say(title, text):
        block = f"## {title}\n\n{text}\n"
        print(block, flush=True)
        with open(report, "a") as out:
            out.write(block)

    say("Machine", machine())
    scale = AMOUNTS[arguments.size][2]
    count = arguments.rounds
    for name in arguments.tables:
        began = time.monotonic()
        match name:
            case "traffic":
                capture = captures["traffic"]
                say(f"Keep-alive traffic and checks, {size(capture)}",
                    speed.side_by_side(built, capture, count, directory, slow=True))
            case "checks":
                capture = captures["checks"]
                say(f"Nothing but health checks, {size(capture)}",
                    speed.side_by_side(built, capture, count, directory, slow=False))
            case "logs":
                # Of each size its own, as the captures have it by their names.
                logged = directory / f"{arguments.size}-logs"
                if not (logged / logs.BALANCER).exists():
                    logs.record(logged, LOGGED[arguments.size])
                say(f"Logs beside {size(logged / logs.CAPTURE)}", logs.beside(built, logged, count))
            case "compressed":
                capture = directory / "copies.pcap"
                built.multiply(4, captures["unit"], capture)
                say("Compressed", speed.compressed(built, capture, count, directory))
                capture.unlink()
            case "file":
                say("Growth with the file",
                    growth.with_the_file(built, captures["unit"], directory))
            case "flows":
                say("Connections alive at once", growth.with_live_flows(built, directory, scale))
            case "floods":
                say("Floods", growth.floods(built, directory, scale))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"also in {report}; captures in {directory}", file=sys.stderr)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=programs.REPOSITORY / "target/bench")
    parser.add_argument("--size", choices=list(ROOM), default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("tables", nargs="*", metavar="TABLE",
                        help="only these: " + ", ".join(TABLES))
    arguments = parser.parse_args()
    unknown = set(arguments.tables) - set(TABLES)
    if unknown:
        parser.error(f"no such table: {', '.join(unknown)}")
    arguments.tables = arguments.tables or TABLES
    return arguments


def recorded(built, directory, size_name, needed):
    """Those captures that tables use, made unless they are there."""
    length, wanted, _ = AMOUNTS[size_name]
    captures = {name: directory / f"{size_name}-{name}.pcap" for name in sorted(needed)}
    missing = {name: path for name, path in captures.items() if not path.exists()}
    if not missing:
        return captures
    if os.geteuid() != 0:
        raise SystemExit("recording needs root for its network namespace")
    live = directory / "live-checks.pcap"
    with Recorder(directory) as recorder:
        print(f"recording nginx and wrk: {', '.join(missing)}", file=sys.stderr)
        if "traffic" in missing:
            recorder.record(missing["traffic"], length, 64, 16)
        if "unit" in missing:
            recorder.record(missing["unit"], UNIT, 64, 16)
        if "checks" in missing:
            recorder.record(live, LIVE_CHECKS, 0, 48, timestamps=False)
    if "checks" in missing:
        copies = -(-wanted // programs.packets(live))
        built.multiply(copies, live, missing["checks"])
        live.unlink()
    return captures


def size(capture):
    total = programs.packets(capture)
    length = capture.stat().st_size
    return f"{length / 1e9:.2f} GB, {total / 1e6:.2f} M packets, {length / total - 16:.0f} bytes each"


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, {rustc}, "
            f"load {load:.1f} at the start\n")


if __name__ == "__main__":
    main()
