"""Counts the instructions that why502 needs for fixed captures, and compares with the numbers that
benches/instructions.txt holds. Counts do not depend on what else the machine does.

They do depend on the compiler, the C library and the processor's vector instructions, so they are
compared only where these are the recorded ones. What a run needs without any packet is taken off. All
runs on one processor: with a second one, frames are decoded in a thread of their own, and handing them
over costs a few percent.

    instructions.py            compare; fails above the tolerance
    instructions.py --update   write the file anew
    instructions.py --spread 5 count five times and show how far the counts lie apart
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from programs import REPOSITORY, Built  # noqa: E402

RECORDED = Path(__file__).with_suffix(".txt")
# More than this above the recorded count fails; more than this below asks to record it.
TOLERANCE = 0.05
# Name, and scene with its amount (see benches/traffic) or a capture that ships.
INPUTS = {
    "keep-alive": ("keep-alive", 4_000),
    "checks": ("checks", 4_000),
    "reordered": ("reordered", 100),
    "failures": ("failures", 2_000),
    "shipped-demo": "captures/demo/nginx-demo-lb.pcap",
}
ABOUT = """\
# Instructions per capture, counted by valgrind; compared in CI by benches/instructions.py.
# To record them anew after a wanted change: make instructions-update
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--spread", type=int, metavar="RUNS")
    arguments = parser.parse_args()
    there = {} if arguments.update else recorded()
    here = toolchain()
    differing = {key: (there[key], here[key]) for key in here if there.get(key, here[key]) != here[key]}
    if differing and not arguments.spread:
        for key, (wanted, found) in differing.items():
            print(f"instructions: not compared, {key} is {found}, recorded with {wanted}")
        return
    with tempfile.TemporaryDirectory() as directory:
        built = Built()
        captures = {name: made(built, what, Path(directory) / f"{name}.pcap")
                    for name, what in INPUTS.items()}
        nothing = made(built, ("nothing", 0), Path(directory) / "nothing.pcap")
        if arguments.spread:
            spread(built, nothing, captures, arguments.spread)
            return
        base = instructions(built, nothing)
        counts = {name: instructions(built, path) - base for name, path in captures.items()}
    if arguments.update:
        lines = [f"{key} {value}" for key, value in (here | counts).items()]
        RECORDED.write_text(ABOUT + "\n".join(lines) + "\n")
        print(f"instructions: recorded in {RECORDED}")
        return
    failed = [compare(name, int(there.get(name, 0)), count) for name, count in counts.items()]
    if any(failed):
        raise SystemExit("instructions: the hot path got slower; if that is wanted: "
                         "make instructions-update")


def compare(name, wanted, count):
    """Says how a count stands; true when it is too high."""
    if wanted == 0:
        print(f"instructions: {name} {count:,}, not recorded yet")
        return True
    change = count / wanted - 1
    more = change > TOLERANCE
    note = ""
    if more:
        note = f", more than {TOLERANCE:.0%} above"
    elif change < -TOLERANCE:
        note = ", better: record it with make instructions-update"
    print(f"instructions: {name} {count:,}, {change:+.1%} of the recorded {wanted:,}{note}")
    return more


def spread(built, nothing, captures, runs):
    for name, path in {"nothing": nothing, **captures}.items():
        counts = [instructions(built, path) for _ in range(runs)]
        apart = max(counts) / min(counts) - 1
        print(f"{name}: {min(counts):,} to {max(counts):,}, {apart:.3%} apart in {runs} runs")


def made(built, what, path):
    """The capture of an input."""
    if isinstance(what, str):
        return REPOSITORY / what
    scene, amount = what
    built.make(scene, amount, path)
    return path


def instructions(built, capture):
    """Instructions of one whole run, on one processor."""
    one = {min(os.sched_getaffinity(0))}
    count = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    run = subprocess.run([*count, *built.analysis(capture)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: os.sched_setaffinity(0, one))
    found = re.search(r"I +refs: +([\d,]+)", run.stderr)
    if run.returncode != 0 or not found:
        raise SystemExit(f"valgrind failed:\n{run.stderr}")
    return int(found[1].replace(",", ""))


def toolchain():
    """What counts depend on beside the source."""
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True)
    flags = Path("/proc/cpuinfo").read_text().split() if platform.system() == "Linux" else []
    return {
        "rustc": rustc.stdout.strip(),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" avx2" if "avx2" in flags else ""),
    }


def recorded():
    """What the file says."""
    lines = RECORDED.read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


if __name__ == "__main__":
    main()
