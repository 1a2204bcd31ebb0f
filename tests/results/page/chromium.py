"""A headless Chromium, spoken to over two pipes: requests and answers are JSON texts that end in a zero byte."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from typing import Any

__all__ = ["EXECUTABLE", "Browser", "open_browser"]

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Root has no sandbox, a container little shared memory; and nothing is to be fetched by the browser itself.
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
_SECONDS = 60


class Browser:
    """One page of a browser; events that came meanwhile are kept in `events`.

    Args:
        to: file descriptor that takes requests.
        back: file descriptor with answers and events.
    """

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.number, self.buffer = to, back, 0, b""
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask for something of the DevTools protocol, and wait for the answer."""
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while (message := self._message()).get("id") != self.number:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], _SECONDS)
            more = os.read(self.back, 1 << 20) if ready else b""
            if not more:
                raise RuntimeError(f"expected an answer of the browser within {_SECONDS} s; got none")
            self.buffer += more
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def open(self, file: Path, width: int = 1400, *, script: bool = True, dark: bool = False) -> None:
        """Load a file in a window of a width in pixels, and wait until all of it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def complaints(self) -> list[str]:
        """What the console said, and what went wrong in scripts, since the page was opened."""
        names = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in names]

    def fetched(self) -> list[str]:
        """Addresses of all that was loaded since the page was opened, without data URIs."""
        asked = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["request"]["url"] for event in asked if not event["request"]["url"].startswith("data:")]

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def pdf(self) -> bytes:
        """The page in print."""
        options = {"printBackground": False, "preferCSSPageSize": True}
        return base64.b64decode(self.call("Page.printToPDF", **options)["data"])


@contextlib.contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start a browser that keeps what it writes in the folder `profile`, and end it afterwards.

    Raises:
        RuntimeError: it does not answer.
    """
    assert EXECUTABLE
    # Above 10, so that none of them is 3 or 4, where the browser expects its own ends.
    theirs_in, to, back, theirs_out = (fcntl(end, F_DUPFD_CLOEXEC, 10) for end in _pipes())
    actions = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
    actions += [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    command = [EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}"]
    process = os.posix_spawn(EXECUTABLE, command, os.environ, file_actions=actions, setpgroup=0)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(to, back)
    finally:
        _end(process)
        os.close(to)
        os.close(back)


def _pipes() -> Iterator[int]:
    for end in (*os.pipe(), *os.pipe()):
        yield end
        os.close(end)  # after its copy was taken


def _end(process: int) -> None:
    """End the browser and its children, which are a group of their own, and wait for it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, sign)
        for _ in range(50):
            if os.waitpid(process, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
