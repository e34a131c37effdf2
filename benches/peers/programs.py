"""The programs that are compared, and the captures that they read."""

import json
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# The name of the program that everything is related to.
LOOP = "bare libpcap loop"
WHY502 = "`why502`"


class Built:
    """What cargo made of this source."""

    def __init__(self):
        self.why502 = os.environ.get("WHY502") or cargo("why502", "build", "--release")
        # Needs no crate, so that nothing else has to be built for it.
        self.captures = str(Path(cargo_target()) / "release" / "captures")
        source = REPOSITORY / "benches/captures.rs"
        subprocess.run(["rustc", "--edition", "2024", "-O", str(source), "-o", self.captures],
                       check=True)

    def make(self, scene, amount, path):
        """Writes traffic of one kind, see benches/traffic."""
        subprocess.run([self.captures, "make", scene, str(amount), str(path)], check=True)

    def multiply(self, copies, capture, path):
        """Writes a capture several times in a row, each time from other addresses."""
        command = [self.captures, "multiply", str(copies), str(capture), str(path)]
        subprocess.run(command, check=True)

    def analysis(self, *arguments):
        return [self.why502, "--no-progress", "--quiet", *map(str, arguments)]

    def readers(self, capture):
        """Programs that only read, and ours."""
        loop = cargo("libpcap_loop", "bench", "--no-run", "--bench", "libpcap_loop")
        capture = str(capture)
        return {
            LOOP: [loop, capture],
            "`capinfos -c`": ["capinfos", "-c", capture],
            "`tcpdump -r X -w /dev/null`": ["tcpdump", "-r", capture, "-w", "/dev/null"],
            WHY502: self.analysis(capture),
        }


def cargo(name, *command):
    """Builds the program of that name; returns its path."""
    run = ["cargo", *command, "--locked", "--message-format=json"]
    made = subprocess.run(run, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in made.stdout.splitlines()]
    made = [message for message in messages if message.get("executable")]
    return next(message["executable"] for message in made if message["target"]["name"] == name)


def cargo_target():
    """Where cargo puts what it builds."""
    run = ["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"]
    made = subprocess.run(run, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(made.stdout)["target_directory"]


def packets(capture):
    """Packets of a capture."""
    made = subprocess.run(["capinfos", "-cMT", "-r", str(capture)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return int(made.stdout.split()[-1])


def tcptrace(capture):
    return ["tcptrace", "-n", str(capture)]


def tshark(capture):
    """Two passes, as needed to tell which request a response belongs to."""
    return ["tshark", "-2", "-n", "-r", str(capture), "-Y", "http",
            "-T", "fields", "-e", "http.response.code"]
