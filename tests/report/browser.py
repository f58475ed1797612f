"""A headless Chromium that opens pages from the disk and tells all that they ask for and complain about."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
WIDE, NARROW = 1280, 390
SERIOUS = ("serious", "critical")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver: apt-get install chromium chromium-driver"
)


class Browser:
    """A browser window."""

    def __init__(self, driver: Chrome):
        self.driver = driver

    def look(self, width: int = WIDE, theme: str = "light") -> None:
        """Set the window's width in CSS pixels, and the theme."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def open(self, page: Path, fragment: str = "") -> float:
        """Open a page; returns the seconds until its script has run."""
        self.driver.get("about:blank")
        begun = time.perf_counter()
        self.driver.get(f"{page.resolve().as_uri()}{fragment}")
        return time.perf_counter() - begun

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait until something holds; a browser acts on its own time.

        Raises:
            TimeoutException: it did not in a minute.
        """
        WebDriverWait(self.driver, 60, 0.05).until(lambda _: until())

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(kind))  # type: ignore[no-untyped-call]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = self._log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> set[str]:
        """The addresses asked for since the last call, without data that the page itself holds."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        sent = (event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent")
        return {address for address in sent if not address.startswith("data:")}

    def faults(self) -> list[str]:
        """What axe finds, if it is serious."""
        # Through the debugger, which the page's own policy does not bind.
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def shoot(self, path: Path, whole: bool = True) -> None:
        """A picture of the whole page."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser that is ended afterwards."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
