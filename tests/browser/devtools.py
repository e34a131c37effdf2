"""Drives headless Chromium through its DevTools protocol over a pipe; standard library only.

Protocol: https://chromedevtools.github.io/devtools-protocol/ - one JSON object per message, ended by a
NUL byte, on the descriptors 3 (to the browser) and 4 (from it).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Browser:
    """A browser with one page. Use as a context manager: it is stopped and its profile removed."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="why502-browser-")
        to_browser, self.send_to = os.pipe()
        self.receive_from, from_browser = os.pipe()
        arguments = [
            program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={self.profile}",
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "about:blank",
        ]
        if os.geteuid() == 0:
            # Chromium's sandbox does not work for root; the pages are ours and nothing is loaded.
            arguments.insert(1, "--no-sandbox")

        def descriptors():
            # Neither may be overwritten before it was copied.
            a, b = os.dup(to_browser), os.dup(from_browser)
            low = [fd for fd in (a, b) if fd in (3, 4)]
            assert not low, "descriptors 3 and 4 are taken"
            os.dup2(a, 3)
            os.dup2(b, 4)

        # The copies must not fall onto 3 and 4 themselves.
        holes = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
        self.process = subprocess.Popen(
            arguments, preexec_fn=descriptors, pass_fds=(3, 4), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for hole in holes:
            os.close(hole)
        os.close(to_browser)
        os.close(from_browser)
        self.rest, self.number, self.session = b"", 0, None
        self.events = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close", patience=5)
        except (OSError, TimeoutError):
            pass
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for descriptor in (self.send_to, self.receive_from):
            os.close(descriptor)
        shutil.rmtree(self.profile, ignore_errors=True)

    def message(self, until):
        """The next message of the browser."""
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.receive_from], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.receive_from, 1 << 16)
            if not part:
                raise OSError("the browser is gone")
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, patience=60, **parameters):
        """Asks for something and waits for the answer; events on the way are kept."""
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.send_to, data):]
        until = time.monotonic() + patience
        while True:
            message = self.message(until)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, event, patience=60):
        """Waits for an event that has not been seen since the last `open`."""
        until = time.monotonic() + patience
        while not any(one.get("method") == event for one in self.events):
            self.events.append(self.message(until))

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)

    def scheme(self, name):
        """`light` or `dark`, as the system would say."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, path):
        """Opens a file and waits until its scripts have run. Seconds that it took."""
        self.events.clear()
        start = time.monotonic()
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        self.wait_for("Page.loadEventFired")
        # Two frames later all is painted.
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - start

    def run(self, script):
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def key(self, key, code=None):
        """Presses a key, as a person would."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        number = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        common = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def screenshot(self, path, whole=True):
        parameters = {"captureBeyondViewport": whole}
        if whole:
            area = self.call("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": area["width"], "height": area["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", **parameters)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def complaints(self):
        """Console errors, exceptions, and requests for anything but the page itself."""
        found = []
        for event in self.events:
            method, data = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                details = data["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif method == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
                found.append("console: " + " ".join(str(one.get("value", one.get("description"))) for one in data["args"]))
            elif method == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
                found.append("log: " + data["entry"]["text"])
            elif method == "Network.requestWillBeSent" and data.get("type") != "Document":
                found.append("loaded: " + data["request"]["url"])
        return found
