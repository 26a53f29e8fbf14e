"""A real Chromium without a window, spoken to over a pipe: no driver, no port, nothing installed.

Source: https://chromedevtools.github.io/devtools-protocol/ (protocol) and Chromium's
`--remote-debugging-pipe`: messages are JSON, ended by a NUL, on file descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 60.0


def find_chromium() -> str | None:
    """The program; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    """One page of one browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        """Open the page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Ask the browser for something."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for_event("Page.loadEventFired")

    def wait_for_event(self, method: str) -> dict[str, Any]:
        """Wait until the browser tells of something."""
        while True:
            for event in self.events:
                if event["method"] == method:
                    self.events.remove(event)
                    return dict(event["params"])
            self._read()

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if self.run(f"Boolean({script})"):
                return
            self._linger(0.1)
        raise AssertionError(f"never true: {script}\n{self.run('document.body.innerText')}")

    def _linger(self, seconds: float) -> None:
        """Let the page work; take what it tells meanwhile."""
        if select.select([self._reading], [], [], seconds)[0]:
            self._read()

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def choose_files(self, selector: str, paths: list[str]) -> None:
        """Choose files, as a person does in the window of the system."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=paths)

    def resize(self, width: int, height: int = 900) -> None:
        """Be a window or a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def darken(self, *, is_dark: bool) -> None:
        """Prefer dark or light."""
        value = "dark" if is_dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def list_complaints(self) -> list[str]:
        """What the page complained about: errors of scripts, refusals of its policy."""
        self.call("Runtime.evaluate", expression="0")
        texts = []
        for event in self.events:
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                texts.append(event["params"]["entry"]["text"])
            if event["method"] == "Runtime.exceptionThrown":
                texts.append(str(event["params"]["exceptionDetails"]))
        return texts

    def list_requests(self) -> list[str]:
        """Addresses that the page asked for."""
        sent = [each for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._reading], [], [], left)[0], "it is silent"
            block = os.read(self._reading, 2**20)
            assert block, "the browser ended"
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\0")
        message = dict(json.loads(line))
        if "method" in message:
            self.events.append(message)
        return message


@contextlib.contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    profile = tempfile.mkdtemp(prefix="appliance-browser-")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += ["--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars", "--mute-audio"]
    flags += ["--disable-background-networking", f"--user-data-dir={profile}"]

    def place_pipes() -> None:  # in the child, where 3 and 4 are not yet used by itself
        high_read, high_write = os.dup(to_read), os.dup(from_write)
        os.dup2(high_read, 3)
        os.dup2(high_write, 4)

    process = subprocess.Popen(
        [program, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=place_pipes,
        close_fds=False,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(from_write)
    browser = Browser(from_read, to_write)
    try:
        browser.attach()
        yield browser
    finally:
        with contextlib.suppress(AssertionError, OSError):
            browser._session = None
            browser.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(from_read)
        os.close(to_write)
        shutil.rmtree(profile, ignore_errors=True)
