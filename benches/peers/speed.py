"""The peers side by side on the same file: time on all cores and on one, and memory."""

import subprocess

import measure
import programs
from measure import ALL_CORES, ONE_CORE
from programs import LOOP, WHY502
from table import duration, megabytes, millions, table, times

# Slow programs, and the packets of the slice that one reads which would take minutes for the whole. It slows
# down as a capture grows, so that scaling what the slice takes flatters it.
SLOW = [
    ("`tcptrace`", programs.tcptrace, None),
    ("`tshark -2 -Y http`, scaled", programs.tshark, 100_000),
]


def side_by_side(built, capture, count, directory, slow):
    """A table for one capture; with `slow` also of the programs that take long, on all cores only,
    as they use no more than one."""
    total = programs.packets(capture)
    readers = built.readers(capture)
    measure.rounds(readers, 1, ALL_CORES)  # Into the page cache.
    one = measure.rounds(readers, count, ONE_CORE)
    many = measure.rounds(readers, count, ALL_CORES)
    used = {name: measure.memory(command) for name, command in readers.items()}
    for name, program, part in SLOW if slow else []:
        many[name], used[name] = scaled(program, capture, total, part, count, directory)
    rows = [
        [name, *together(took, many[LOOP]), *alone(one.get(name), one[LOOP], total),
         duration(min(took.processor)), megabytes(used[name].peak), megabytes(used[name].private)]
        for name, took in many.items()
    ]
    head = ["", f"{len(ALL_CORES)} cores, median", "fastest", "to loop", "1 core, median",
            "fastest", "to loop", "packets/s", "processor time", "peak memory", "of it private"]
    lines = [against(name, many, one) for name in many if name not in (LOOP, WHY502)]
    return table(head, rows) + "\n" + "".join(lines)


def together(took, loop):
    best = took.fastest() / loop.fastest()
    return [duration(took.median()), duration(took.fastest()),
            f"{times(took.ratio(loop))} ({times(best)})"]


def alone(took, loop, packets):
    """The same on one core, and packets per second there."""
    if took is None:
        return [""] * 4
    return together(took, loop) + [millions(packets / took.fastest())]


def against(name, many, one):
    """How long another program takes in relation to ours."""
    text = f"- {name} takes {times(many[name].ratio(many[WHY502]))} the time of why502"
    if name in one:
        text += f", on one core {times(one[name].ratio(one[WHY502]))}"
    return text + "\n"


def scaled(program, capture, packets, wanted, count, directory):
    """Times for a slice, scaled by the number of packets, and memory for the slice; without `wanted`
    of the whole."""
    if wanted is None:
        whole = program(capture)
        return measure.rounds({"": whole}, count, ALL_CORES)[""], measure.memory(whole)
    part = directory / "slice.pcap"
    subprocess.run(["editcap", "-r", "-F", "pcap", capture, part, f"1-{wanted}"], check=True)
    command = program(part)
    took = measure.Times()
    for _ in range(count):
        took.add(measure.seconds(command), packets / min(packets, wanted))
    used = measure.memory(command)
    part.unlink()
    return took, used


def compressed(built, capture, count, directory):
    """A table of what compressed input costs beside decompression alone."""
    size = megabytes(capture.stat().st_size)
    rows = []
    for suffix, pack, unpack in [
        ("gz", ["gzip", "-6", "-c"], ["gunzip", "-c"]),
        ("zst", ["zstd", "-q", "-c"], ["zstd", "-q", "-dc"]),
    ]:
        path = directory / f"packed.pcap.{suffix}"
        with open(path, "wb") as out:
            subprocess.run([*pack, capture], check=True, stdout=out)
        only, whole = " ".join(unpack), WHY502
        commands = {only: [*unpack, str(path)], whole: built.analysis(path)}
        for label, cores in [(f"{len(ALL_CORES)} cores", ALL_CORES), ("1 core", ONE_CORE)]:
            took = measure.rounds(commands, count, cores)
            rows.append([f"{suffix}, {label}", f"{size} in {megabytes(path.stat().st_size)}",
                         f"`{only}` {duration(took[only].median())}",
                         duration(took[whole].median()), times(took[whole].ratio(took[only]))])
        path.unlink()
    return table(["", "size", "decompressor alone", "`why502`", "ratio"], rows)
