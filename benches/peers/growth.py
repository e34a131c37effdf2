"""How time and memory grow: with the file, with connections alive at once, under floods."""

import subprocess

import measure
import programs
from table import duration, megabytes, millions, table, thousands

HEAD = ["", "packets", "size", "time", "packets/s", "peak memory", "of it private"]


def row(built, name, capture, arguments=()):
    command = built.analysis(capture, *arguments)
    total = programs.packets(capture)
    took = min(measure.seconds(command)[0] for _ in range(2))
    used = measure.memory(command)
    return [name, thousands(total), megabytes(capture.stat().st_size),
            duration(took), millions(total / took), megabytes(used.peak),
            megabytes(used.private)]


def with_the_file(built, recording, directory):
    """The same traffic once, four and sixteen times."""
    rows = []
    for copies in (1, 4, 16):
        path = directory / "copies.pcap"
        built.multiply(copies, recording, path)
        rows.append(row(built, f"{copies}× the file", path))
        path.unlink()
    return table(HEAD, rows)


# Scene of connections that are all alive at once, and how many of them.
ALIVE = [
    ("users' connections", "live-flows", (10_000, 100_000, 1_000_000)),
    ("probers' connections", "live-checks", (1_000_000,)),
]


def with_live_flows(built, directory, scale):
    """Connections that are all alive at once, and what each of them costs."""
    path = directory / "live.pcap"
    built.make("live-flows", 0, path)
    before = measure.memory(built.analysis(path)).private
    rows = []
    for name, scene, amounts in ALIVE:
        for flows in amounts:
            flows //= scale
            built.make(scene, flows, path)
            cells = row(built, f"{thousands(flows)} {name}", path)
            private = measure.memory(built.analysis(path)).private
            rows.append(cells + [f"{(private - before) / flows:.0f} B"])
            path.unlink()
    return table(HEAD + ["per flow"], rows)


# Name, scene, how much of it, and how the report is asked for.
FLOODS = [
    ("SYNs, all different", "syn-flood", 10_000_000, ()),
    ("segments behind holes", "holes", 1_000_000, ()),
    ("heads without end", "endless-heads", 500_000, ()),
    ("pipelined requests, one connection", "pipelined", 1_000_000, ()),
    ("failures, text", "failures", 1_000_000, ()),
    ("failures, JSON", "failures", 1_000_000, ("--format", "json")),
    ("failures, ndjson", "failures", 1_000_000, ("--format", "ndjson")),
    ("connections refused, JSON", "refused", 1_000_000, ("--format", "json")),
]


def floods(built, directory, scale):
    """Each flood, and a tenth of it: packets per second and memory should be the same. What was dropped
    or given up to keep memory within its bounds is what the text report says of it."""
    rows = []
    for name, scene, amount, arguments in FLOODS:
        for part in (amount // scale // 10, amount // scale):
            path = directory / "flood.pcap"
            built.make(scene, part, path)
            cells = row(built, f"{thousands(part)} {name}", path, arguments)
            rows.append(cells + [bounds(built, path) if not arguments else ""])
            path.unlink()
    return table(HEAD + ["bounds reached"], rows)


# How the text report ends the line of a bound.
BOUND = " (a memory bound was reached)"


def bounds(built, capture):
    """What the report says of bounds that were reached."""
    text = subprocess.run(built.analysis(capture), check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line.removesuffix(BOUND) for line in lines if line.endswith(BOUND))
