"""A headless Chromium, driven through chromedriver's HTTP interface (W3C WebDriver) with the standard library.

python tests/support/chromium.py    # exits with 1 and names what is missing, if something is
"""

import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
# The page is local: no proxy may stand between the test and the driver.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Page:
    """One browser window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, path: Path, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Load a file in a window of the given size and colour scheme."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._post("url", url=path.resolve().as_uri())

    def cdp(self, command: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=command, params=parameters)

    def ask(self, script: str) -> Any:
        """The value of a script that ends in `return`."""
        return self._post("execute/sync", script=script, args=[])

    def until(self, condition: str, *, seconds: float = 30.0) -> None:
        """Wait until an expression is true; a TimeoutError names one that stays false."""
        end = time.monotonic() + seconds
        while not self.ask(f"return Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.05)

    def draw_all(self) -> None:
        """Have every chart drawn, as for printing, and the page as it was again; charts wait until they are near."""
        self.ask("for (const kind of ['beforeprint', 'afterprint']) dispatchEvent(new Event(kind)); return 0")
        self.until("[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.main-svg'))")

    def press(self, key: str) -> None:
        """Press a key of the keyboard, named as in WebDriver ("\\ue004" is tab, "\\ue007" enter)."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Entries since the last call: "browser" is the console, "performance" the network."""
        entries: list[dict[str, Any]] = self._post("se/log", type=kind)
        return entries

    def requests(self) -> list[str]:
        """Addresses requested since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save what the page looks like, all of its length by default."""
        taken = self.cdp("Page.captureScreenshot", captureBeyondViewport=whole, **(self._clip() if whole else {}))
        path.write_bytes(base64.b64decode(taken["data"]))

    def pdf(self, path: Path) -> None:
        """Save the page as it prints."""
        path.write_bytes(base64.b64decode(self.cdp("Page.printToPDF", printBackground=True)["data"]))

    def _clip(self) -> dict[str, Any]:
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _post(self, path: str, **body: Any) -> Any:
        return _call("POST", f"{self._session}/{path}", body)


@contextlib.contextmanager
def browse() -> Iterator[Page]:
    """A window of a fresh browser, closed at the end."""
    with tempfile.TemporaryDirectory() as profile, _driver() as address:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options = {"binary": BROWSER, "args": [*flags, f"--user-data-dir={profile}"]}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = _call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        try:
            yield Page(f"{address}/session/{session}")
        finally:
            _call("DELETE", f"{address}/session/{session}")


@contextlib.contextmanager
def _driver() -> Iterator[str]:
    command = [str(DRIVER), "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        started = next(line for line in process.stdout if "on port" in line and "success" in line)
        port = int(started.rsplit("port", 1)[1].strip(" .\n"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def _call(method: str, address: str, body: dict[str, Any] | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=content, method=method, headers={"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=60) as response:
        return json.loads(response.read())["value"]


if __name__ == "__main__":
    missing = [name for name, path in (("chromium", BROWSER), ("chromedriver", DRIVER)) if path is None]
    sys.exit(f"not on PATH: {', '.join(missing)}" if missing else 0)
