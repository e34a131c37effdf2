"""`why502 live` beside tcpdump: what it says, line by line, with the time at which each line came."""

import signal
import subprocess
import threading
import time


def addresses(prefix):
    """Addresses of the namespace in which commands behind `prefix` run."""
    listed = subprocess.run([*prefix, "ip", "-o", "address"], capture_output=True, text=True, timeout=20, check=True)
    return [line.split()[3].split("/")[0] for line in listed.stdout.splitlines()]


class Live:
    """One `why502 live`, whose lines go to a file, each behind its time in seconds."""

    def __init__(self, program, prefix, interface, expression, path):
        self.process = subprocess.Popen(
            [*prefix, program, "live", "-i", interface, "-f", expression, "--format", "ndjson"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # An analysis of the file written beside it has to know what live reads of its host.
        with open(f"{path}.local", "w", encoding="utf-8") as file:
            file.write("\n".join(addresses(prefix)))
        self.said = []
        self.ready = threading.Event()
        self.threads = [threading.Thread(target=self.lines, args=(path,), daemon=True),
                        threading.Thread(target=self.words, daemon=True)]
        for thread in self.threads:
            thread.start()
        if not self.ready.wait(30) or self.process.poll() is not None:
            raise OSError(f"why502 live did not start: {''.join(self.said)}")

    def lines(self, path):
        """Write down what it says of the packets."""
        with open(path, "w", encoding="utf-8") as file:
            for line in self.process.stdout:
                file.write(f"{time.time():.6f} {line}")

    def words(self):
        """Listen to what it says of itself."""
        for line in self.process.stderr:
            self.said.append(line)
            if " captures " in line:
                self.ready.set()
        self.ready.set()

    def stop(self):
        """End it, and return what it said of itself."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        for thread in self.threads:
            thread.join(20)
        if code != 0:
            raise OSError(f"why502 live ended with {code}: {''.join(self.said)}")
        return "".join(self.said)
