"""Headless Chromium over its DevTools protocol: pages are opened, asked and photographed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SLOW_S = 120.0


class Page:
    """One tab. Everything that the browser logs of it is in `log`."""

    def __init__(self, address: str):
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self.log: list[str] = []

    def __enter__(self) -> Page:
        self._session = self._loop.run_until_complete(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._socket.close())
        self._loop.run_until_complete(self._session.close())
        self._loop.close()

    async def _connect(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession()
        self._socket = await session.ws_connect(self._address, max_msg_size=0)
        return session

    def call(self, method: str, **parameters: Any) -> Any:
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = json.loads(await self._socket.receive_str(timeout=SLOW_S))
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.log.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        self.call("Runtime.enable")
        self.call("Log.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str, what: str) -> Any:
        """Asks until the expression is true."""
        deadline = time.monotonic() + SLOW_S
        while not (found := self.ask(script)):
            if time.monotonic() > deadline:
                pytest.fail(f"never came: {what}; {self.log[:5]}", pytrace=False)
            time.sleep(0.3)
        return found

    def photograph(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium (apt-get install chromium)")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    quiet = ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    process = subprocess.Popen(
        [CHROMIUM, *options, *quiet, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        browser = next(found[1] for line in process.stderr if (found := re.search(r"ws://([^/\s]+)/", line)))
        with Page(_tab(browser)) as tab:
            yield tab
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _tab(browser: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{browser}/json/list", timeout=30) as answer:
        return str(next(one for one in json.load(answer) if one["type"] == "page")["webSocketDebuggerUrl"])
