"""Runs a program and measures it."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

ALL_CORES = os.sched_getaffinity(0)
ONE_CORE = {min(ALL_CORES)}
# Seconds between two looks at a program's memory.
LOOK = 0.002


@dataclass
class Times:
    """What one program took, one entry a round: wall-clock time and processor time, seconds."""

    wall: list = field(default_factory=list)
    processor: list = field(default_factory=list)

    def add(self, took, scale=1):
        self.wall.append(took[0] * scale)
        self.processor.append(took[1] * scale)

    def median(self):
        return statistics.median(self.wall)

    def fastest(self):
        return min(self.wall)

    def ratio(self, base):
        """Median over the rounds of what it took in relation to another in the same round."""
        return statistics.median(a / b for a, b in zip(self.wall, base.wall))


@dataclass
class Memory:
    """Most that a program held, bytes."""

    peak: int = 0
    private: int = 0


def started(command, cores):
    """Starts a program on these cores; it inherits them from us."""
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, ALL_CORES)


def checked(code, command):
    if code != 0:
        raise SystemExit(f"failed with code {code}: {' '.join(command)}")


def seconds(command, cores=ALL_CORES):
    """Wall-clock and processor time of one run."""
    began = time.perf_counter()
    process = started(command, cores)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    checked(process.returncode, command)
    return wall, usage.ru_utime + usage.ru_stime


def memory(command, cores=ALL_CORES):
    """Peak resident memory, and the peak of what is private and not a file's pages."""
    most = Memory()
    process = started(command, cores)
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                fields = dict(line.split(":", 1) for line in status)
        except (FileNotFoundError, ProcessLookupError):
            break
        if "VmHWM" in fields:
            most.peak = max(most.peak, kilobytes(fields["VmHWM"]))
            most.private = max(most.private, kilobytes(fields["RssAnon"]))
        time.sleep(LOOK)
    checked(process.wait(), command)
    return most


def kilobytes(text):
    return int(text.split()[0]) * 1024


def rounds(programs, count, cores):
    """Runs every program once a round, each round beginning with another one, so that what else
    the machine does meets all alike. `programs` maps names to commands."""
    times = {name: Times() for name in programs}
    names = list(programs)
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].add(seconds(programs[name], cores))
        print(".", end="", file=sys.stderr, flush=True)
    return times
