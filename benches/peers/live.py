"""make bench-live: why502 live beside tcpdump, both on the same traffic in the same run.

nginx and wrk talk over the loopback of a network namespace for --seconds. why502 live analyses what
passes, tcpdump writes it to a ring of files. Needs root for the namespace, and 1.5 GB in --dir.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from programs import cargo
from record import PORT, Recorder
from table import table, thousands

# What each program may keep in the kernel, MiB, and the ring that each writes.
BUFFER = 16
FILES, FILE_MB = 10, 100
# Seconds between two looks at processor and memory.
LOOK = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


class Watched:
    """A program in the namespace, and what it took."""

    def __init__(self, recorder, command, log):
        self.command, self.log = command, log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(recorder.inside(*command), stderr=errors,
                                            stdout=subprocess.DEVNULL)
        self.processor = self.peak = 0

    def look(self):
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.processor = (int(stat[11]) + int(stat[12])) / TICKS
            self.peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024
        except (FileNotFoundError, ProcessLookupError, TypeError):
            pass

    def end(self):
        self.process.send_signal(signal.SIGINT)
        while self.process.poll() is None:
            self.look()
            time.sleep(0.02)
        if self.process.returncode != 0:
            raise SystemExit(f"{' '.join(self.command)}: {self.log.read_text()}")


def main():
    arguments = parse()
    if os.geteuid() != 0:
        raise SystemExit("root is needed for the network namespace")
    directory = arguments.dir.resolve() / "live"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    why502 = os.environ.get("WHY502") or cargo("why502", "build", "--release")
    try:
        with Recorder(directory) as recorder:
            print(compare(recorder, why502, directory, arguments))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def compare(recorder, why502, directory, arguments):
    report = directory / "report.json"
    live = [why502, "live", "-i", "lo", "-p", str(PORT), "-B", f"{BUFFER}MiB", "--user", "root",
            "--format", "json", "-o", str(report), "--max-memory", arguments.max_memory]
    name = "`why502 live`"
    if arguments.evidence:
        live += ["-w", str(directory / "evidence"), "--ring", f"{FILES}x{FILE_MB}MB",
                 "--min-free", "1%"]
        name = "`why502 live -w`"
    dump = ["tcpdump", "-i", "lo", "-n", "-Z", "root", "-s", "0", "-B", str(BUFFER * 1024),
            "-C", str(FILE_MB), "-W", str(FILES), "-w", str(directory / "dump.pcap"),
            f"tcp port {PORT}"]
    watched = {name: Watched(recorder, live, directory / "why502.log"),
               "`tcpdump -w`, a ring": Watched(recorder, dump, directory / "tcpdump.log")}
    time.sleep(1.5)
    before, began = passed(recorder), time.monotonic()
    load = subprocess.Popen(
        recorder.inside("wrk", "-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s",
                        f"http://127.0.0.1:{PORT}{arguments.path}"),
        stdout=subprocess.PIPE, text=True)
    while load.poll() is None:
        for program in watched.values():
            program.look()
        time.sleep(LOOK)
    took = time.monotonic() - began
    packets = passed(recorder) - before
    under_load = {name: program.processor for name, program in watched.items()}
    time.sleep(1)
    for program in watched.values():
        program.end()

    seen = {name: of_why502(report), "`tcpdump -w`, a ring": of_tcpdump(directory / "tcpdump.log")}
    rows = [
        [who, thousands(saw), thousands(dropped), left_out,
         f"{under_load[who] * 100 / took:.0f} %", f"{watched[who].peak / 1e6:.0f} MB"]
        for who, (saw, dropped, left_out) in seen.items()
    ]
    head = ["", "packets taken", "dropped", "of connections left out", "processor", "peak memory"]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", load.stdout.read())
    said = (directory / "why502.log").read_text().splitlines()
    notes = "".join(f"    {line}\n" for line in said if "captures " not in line)[:4000]
    return (f"{took:.0f} s, {thousands(packets)} packets, {thousands(round(packets / took))} a second, "
            f"{thousands(round(float(rate[1])))} requests a second on {arguments.connections} "
            f"connections, {os.cpu_count()} processors for all of it\n\n{table(head, rows)}\n{notes}")


def passed(recorder):
    """Packets on the loopback so far."""
    told = subprocess.run(recorder.inside("ip", "-s", "-j", "link", "show", "lo"), check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told)[0]["stats64"]["rx"]["packets"]


def of_why502(report):
    """Packets taken, dropped, and of connections that were not followed."""
    told = json.loads(report.read_text())
    bounds = told["summary"].get("bounds") or {}
    left_out = bounds.get("packets of connections that were left out to keep up", 0)
    # By the kernel, the interface and its own queue.
    dropped = sum(capture["kernel_drops"] for capture in told["captures"])
    return told["summary"]["packets"], dropped, thousands(left_out)


def of_tcpdump(log):
    said = log.read_text()
    captured = re.search(r"(\d+) packets? captured", said)
    dropped = re.search(r"(\d+) packets? dropped by kernel", said)
    return int(captured[1]), int(dropped[1]), ""


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("target/bench"))
    parser.add_argument("--seconds", type=int, default=60, help="of load (60)")
    parser.add_argument("--connections", type=int, default=64, help="of wrk (64)")
    parser.add_argument("--path", default="/health", help="what wrk asks for: /health has 2 bytes, "
                        "/0 has 8 KB (/health)")
    parser.add_argument("--max-memory", default="1GiB", help="of why502 live (1GiB)")
    parser.add_argument("--evidence", action="store_true",
                        help="why502 live writes a ring of all packets, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
