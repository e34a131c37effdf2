"""How time and memory grow: with the file, with connections alive at once, under floods."""

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


def with_live_flows(built, directory, scale):
    """Connections that are all alive at once, and what each of them costs."""
    rows, before = [], None
    for flows in (0, 10_000, 100_000, 1_000_000):
        flows //= scale
        path = directory / "live.pcap"
        built.make("live-flows", flows, path)
        if flows == 0:
            before = measure.memory(built.analysis(path)).private
            continue
        cells = row(built, f"{thousands(flows)} flows", path)
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
]


def floods(built, directory, scale):
    """Each flood, and a tenth of it: packets per second and memory should be the same."""
    rows = []
    for name, scene, amount, arguments in FLOODS:
        for part in (amount // scale // 10, amount // scale):
            path = directory / "flood.pcap"
            built.make(scene, part, path)
            rows.append(row(built, f"{thousands(part)} {name}", path, arguments))
            path.unlink()
    return table(HEAD, rows)
