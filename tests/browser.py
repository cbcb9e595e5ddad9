"""A headless Chromium for tests of pages, and the page of a dashboard in it.

Where there is no browser, the tests say what is missing: as a failure in CI, as the reason of a skip elsewhere.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.missing import give_up
from tests.waiting import PATIENCE, until

_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


@contextmanager
def chromium(width: int = 1600, height: int = 1000) -> Iterator[webdriver.Chrome]:
    """Run a browser."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        give_up(
            "browser tests: chromium and chromedriver are needed (Debian: apt install chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *(
            "--disable-background-networking",
            "--disable-lcd-text",
            "--disable-component-update",
            "--no-first-run",
            "--lang=en-US",
        ),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_window_size(width, height)
    browser.set_page_load_timeout(PATIENCE)
    browser.set_script_timeout(PATIENCE)
    try:
        yield browser
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            browser.quit()


class Page:
    """A dashboard in the browser. `url` is the viewer's address with its sub-path."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self._complaints: list[dict[str, Any]] = []

    def open(self, uid: str, **parameters: Any) -> None:
        """Show a dashboard; times are UTC unless `timezone` says otherwise."""
        self._log()
        self._complaints.clear()  # what came before is not this page's
        query = urlencode({"timezone": "utc"} | parameters, doseq=True)
        self.browser.get(f"{self.url}/d/{uid}/x?{query}")
        self.settle()

    def settle(self) -> None:
        """Wait until all that was asked for is drawn: the dashboard says so, and no panel that is shown is still at work.

        Chromium ends whatever is being loaded when an interface of the machine comes or goes, as the test hosts' do: the page is
        loaded once more then.
        """
        busy = """
            const shown = [...document.querySelectorAll('.panel')].filter((panel) => !panel.closest('[hidden]'));
            return [document.getElementById('dashboard'), ...shown]
                .filter((each) => each?.getAttribute('aria-busy') !== 'false')
                .map((each) => each?.id)"""

        def working() -> Any:
            if any(_NETWORK_CHANGED in entry["message"] for entry in self._log()):
                self._complaints.clear()
                self.browser.refresh()
            return self.run(busy)

        self.wait(working, "all is drawn", lambda at_work: not at_work)

    def follow(self, link: WebElement) -> None:
        """Click on what leads to another page, and wait until that has taken this one's place and is drawn.

        The browser gives the other page's address while this one is still there.
        """
        this = self.find("html")
        link.click()

        def is_here() -> bool:
            try:
                return this.is_enabled()
            except (NoSuchElementException, StaleElementReferenceException):
                return False

        until(
            is_here, "the other page is there", lambda here: not here, told=lambda: self.browser.current_url
        )
        self.settle()

    def frames(self) -> None:
        """Let the browser draw twice: what follows the size of the window is told of it once it has been drawn (ResizeObserver)."""
        self.browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def wait[T](
        self, look: Callable[[], T], what: str = "the page is as expected", good: Callable[[T], object] = bool
    ) -> T:
        """Wait until what `look` sees on the page is `good`, and return it."""
        return until(
            look,
            what,
            good,
            despite=(NoSuchElementException, StaleElementReferenceException),
            pause=0.03,
            told=lambda: f"{self.browser.current_url}\n{self._log()}",
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what JavaScript returns."""
        return self.browser.execute_script(script, *arguments)

    def module(self, expression: str, *names: str) -> Any:
        """Return the value of `expression`, in which `m` has what the viewer's modules `names` export."""
        script = f"""
            const done = arguments[arguments.length - 1];
            Promise.all({list(names)}.map((name) => import(`{self.path}/public/js/${{name}}.js`)))
                .then((modules) => {{ const m = Object.assign({{}}, ...modules); done({{value: {expression}}}); }})
                .catch((error) => done({{error: String(error)}}));"""
        answer = self.browser.execute_async_script(script)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    @property
    def path(self) -> str:
        """Return the sub-path."""
        return "/" + self.url.split("/", 3)[3] if self.url.count("/") > 2 else ""

    def find(self, selector: str, inside: WebElement | None = None) -> WebElement:
        """Return the one element that a CSS selector finds."""
        elements = (inside or self.browser).find_elements(By.CSS_SELECTOR, selector)
        assert len(elements) == 1, f"{selector}: {len(elements)} elements"
        return elements[0]

    def all(self, selector: str, inside: WebElement | None = None) -> list[WebElement]:
        """Return the elements that a CSS selector finds."""
        return list((inside or self.browser).find_elements(By.CSS_SELECTOR, selector))

    def panel(self, title: str) -> WebElement:
        """Return the panel with a title."""
        for each in self.all(".panel"):
            if self.find("h2", each).text == title:
                return each
        raise AssertionError(
            f"no panel {title!r}: {[self.find('h2', each).text for each in self.all('.panel')]}"
        )

    def rows(self, panel: WebElement) -> list[list[str]]:
        """Return the texts in the shown rows of a table."""
        script = "return [...arguments[0].querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.firstChild.textContent))"
        return list(self.run(script, panel))

    def column(self, panel: WebElement, name: str) -> list[str]:
        """Return the texts in a table's column."""
        script = (
            "return [...arguments[0].querySelectorAll('th .name')].map((name) => name.firstChild.textContent)"
        )
        place = self.run(script, panel).index(name)
        return [row[place] for row in self.rows(panel)]

    def chart(self, panel: WebElement) -> dict[str, Any]:
        """Return the options of a panel's chart."""
        script = "return JSON.parse(JSON.stringify(echarts.getInstanceByDom(arguments[0].querySelector('.chart')).getOption()))"
        return dict(self.run(script, panel))

    def ink(self, panel: WebElement) -> int:
        """Return in how many colours a panel's chart is drawn."""
        script = """
            const canvas = arguments[0].querySelector('canvas');
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const colors = new Set();
            for (let i = 0; i < data.length; i += 4) if (data[i + 3]) colors.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
            return colors.size"""
        return int(self.run(script, panel))

    def query(self) -> dict[str, list[str]]:
        """Return the parameters of the page's address."""
        script = "const q = new URLSearchParams(location.search); return Object.fromEntries([...q.keys()].map((k) => [k, q.getAll(k)]))"
        return dict(self.run(script))

    def _log(self) -> list[dict[str, Any]]:
        """Return all that the browser has said of this page, which gives out each entry once."""
        self._complaints += self.browser.get_log("browser")
        return self._complaints

    def errors(self) -> list[str]:
        """Return what the browser complained of since the page was opened."""
        return [entry["message"] for entry in self._log() if entry["level"] in ("SEVERE", "WARNING")]
