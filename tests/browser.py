"""Chromium without a window, for tests of pages: it reads files, and tells what it asked for and complained of."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
_FLAGS += ("disable-component-update", "disable-sync", "disable-dev-shm-usage")


class Browser:
    """One window.

    Attributes:
        driver: of selenium.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a page anew; a fragment alone would only scroll."""
        self.driver.get("about:blank")
        self.driver.get(page.resolve().as_uri() + fragment)

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *values)

    def wait(self, script: str) -> Any:
        """Until an expression is true."""
        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: self.run(f"return {script}"), script)

    def texts(self, selector: str) -> list[str]:
        """Of all elements, as the page has them."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def click(self, selector: str) -> None:
        """The first element of a selector."""
        self.run("document.querySelector(arguments[0]).click()", selector)

    def key(self, name: str) -> None:
        """Press a key where the focus is."""
        self.driver.switch_to.active_element.send_keys(name)

    def choose(self, name: str, value: str) -> None:
        """A value of a list or a field, as if a person had put it there."""
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        self.run(script + "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind))", name, value)

    def complaints(self) -> list[str]:
        """Of the console, since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def resize(self, width: int, height: int) -> None:
        """The size of the window, also below what a desktop allows."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def missing() -> str:
    """Why pages cannot be tested here and what helps; nothing where they can."""
    absent = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    return f"{' and '.join(absent)} not found on PATH: `make browser` installs what is missing" if absent else ""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    with tempfile.TemporaryDirectory() as profile:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"user-data-dir={profile}", "window-size=1300,900"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
