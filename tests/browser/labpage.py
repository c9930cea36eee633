"""One notebook in JupyterLab, used as a reader uses it: Run All Cells, sliders by keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, sync_playwright

SIZE = {"width": 1280, "height": 900}
OPEN_TIMEOUT = 60  # seconds
RUN_TIMEOUT = 400
MOVE_TIMEOUT = 10
TALLEST = 15_000  # pixels; Chromium draws no screenshot beyond about 16,000

# Listeners on the document, not on nodes that widgets replace. Times are of the page's clock:
# from the key that goes down to the picture that is decoded, and to the words that change.
WATCH = """() => {
  const seen = { key: 0, picture: 0, words: 0 };
  window.kdlibSeen = seen;
  const now = () => performance.now();
  document.addEventListener("keydown", () => { seen.key = now(); }, true);
  document.addEventListener("load", event => {
    if (event.target.matches?.(".kdlib-picture")) seen.picture = now();
  }, true);
  new MutationObserver(changes => {
    for (const { target } of changes) {
      const element = target.nodeType === 1 ? target : target.parentElement;
      if (element?.closest(".kdlib-readout")) seen.words = now();
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""

PROMPTS = """() => [...document.querySelectorAll(".jp-CodeCell")]
  .filter(cell => cell.querySelector(".cm-content")?.textContent.trim())
  .map(cell => cell.querySelector(".jp-InputPrompt").textContent.trim())"""

# JupyterLab shows a traceback as what it writes to stderr; ours write nothing there otherwise.
FAILED = '[data-mime-type="application/vnd.jupyter.stderr"], .jupyter-widgets-error-widget'

# All have run, or one has failed: those after it will not run.
FINISHED = f"""() => ({PROMPTS})().every(text => /\\d/.test(text)) ||
  document.querySelector(`{FAILED}`) !== null"""


@dataclass
class Move:
    """A slider moved by one key: what it was, what it became, how long the reader waited."""

    slider: str
    before: str
    after: str
    milliseconds: float


@dataclass
class Trouble:
    """What a page should not do."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    words = ["--disable-background-networking", "--disable-dev-shm-usage", "--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=words)
        try:
            yield browser
        finally:
            browser.close()


class LabPage:
    """A notebook that is open in JupyterLab. `trouble` collects errors and requests to others."""

    move_timeout = MOVE_TIMEOUT

    def __init__(self, browser: Browser, url: str) -> None:
        self.trouble = Trouble()
        context = browser.new_context(viewport=SIZE, locale="en-US")
        context.on("request", lambda request: self._asked(request.url))
        self.page: Page = context.new_page()
        self.page.on("websocket", lambda socket: self._asked(socket.url))
        self.page.on("pageerror", lambda error: self.trouble.errors.append(f"page: {error}"))
        self.page.on("console", self._said)
        self.page.goto(url)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=1000 * OPEN_TIMEOUT)
        self._wait_until_idle()
        self.page.evaluate(WATCH)

    def close(self) -> None:
        self.page.context.close()

    def run_all(self) -> float:
        """Run ▸ Run All Cells; return the seconds until all have run (or one has failed)."""
        start = time.monotonic()
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        words = self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$"))
        words.click()
        self.page.wait_for_function(FINISHED, timeout=1000 * RUN_TIMEOUT)
        self._wait_until_idle()
        return time.monotonic() - start

    def failed_cells(self) -> list[str]:
        """The text of every error that a cell put out."""
        return self.page.locator(FAILED).all_inner_texts()

    def explorers(self) -> list[Locator]:
        found = self.page.locator(".kdlib-explorer")
        return [found.nth(k) for k in range(found.count())]

    def move(self, explorer: Locator, number: int) -> Move:
        """Move slider `number` of an explorer by one arrow key, and wait for picture and words."""
        control = explorer.locator(".kdlib-control").nth(number)
        handle = control.locator('[role="slider"]')
        handle.scroll_into_view_if_needed()
        handle.focus()
        picture = explorer.locator("img.kdlib-picture")
        source, words = picture.get_attribute("src"), self.read_out(explorer)
        shown = control.locator(".widget-readout")
        before = shown.inner_text()
        now, top = (float(handle.get_attribute(f"aria-value{k}") or 0) for k in ("now", "max"))
        self.page.keyboard.press("ArrowLeft" if now >= top else "ArrowRight")
        self.page.wait_for_function(
            "() => kdlibSeen.key < Math.min(kdlibSeen.picture, kdlibSeen.words)",
            timeout=1000 * self.move_timeout,
        )
        assert picture.get_attribute("src") != source, "the picture did not change"
        assert self.read_out(explorer) != words, f"the read-out still says: {words}"
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        waited = self.page.evaluate(
            "() => Math.max(kdlibSeen.picture, kdlibSeen.words) - kdlibSeen.key"
        )
        return Move(control.inner_text().split("\n")[0], before, shown.inner_text(), waited)

    def live_banks(self) -> list[Locator]:
        found = self.page.locator(".kdlib-live")
        return [found.nth(k) for k in range(found.count())]

    def train(self, live: Locator) -> float:
        """Press Train, wait until it has trained and its picture changed; return the seconds."""
        # A bank may have been trained before, and then says so until the new training begins.
        picture, button = (
            live.locator("img.kdlib-picture"),
            live.get_by_role("button", name="Train"),
        )
        before, start = picture.get_attribute("src"), time.monotonic()
        shown, pressed, limit = picture.element_handle(), button.element_handle(), RUN_TIMEOUT
        button.click()
        for done, what in (
            ("([image, before]) => image.getAttribute('src') !== before", [shown, before]),
            ("button => !button.disabled", pressed),
        ):
            self.page.wait_for_function(done, arg=what, timeout=1000 * limit)
        live.locator(".kdlib-readout", has_text="trained in").wait_for(timeout=1000 * limit)
        return time.monotonic() - start

    def read_out(self, explorer: Locator) -> str:
        return explorer.locator(".kdlib-readout").inner_text()

    def screenshots(self, folder: Path, stem: str) -> list[Path]:
        """The notebook, one picture for each height of the window."""
        folder.mkdir(parents=True, exist_ok=True)
        scroller = self.page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer")
        whole, seen = scroller.evaluate("panel => [panel.scrollHeight, panel.clientHeight]")
        paths = []
        for k in range(-(-whole // seen)):
            scroller.evaluate("(panel, top) => { panel.scrollTop = top; }", k * seen)
            self.page.wait_for_timeout(250)
            paths.append(folder / f"{stem}_{k:02}.png")
            self.page.screenshot(path=paths[-1])
        scroller.evaluate("panel => { panel.scrollTop = 0; }")
        return paths

    def screenshot(self, path: Path) -> None:
        """The whole notebook in one picture, by a window as high as it takes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scroller = self.page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer")
        missing = scroller.evaluate("panel => panel.scrollHeight - panel.clientHeight")
        tall = min(SIZE["height"] + missing, TALLEST)
        self.page.set_viewport_size({**SIZE, "height": tall})
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=path)
        self.page.set_viewport_size(SIZE)

    def _wait_until_idle(self) -> None:
        # The status bar, not the tool bar's circle, which is idle before the kernel is connected.
        self.page.wait_for_selector("text=/Python 3 .*Idle/", timeout=1000 * OPEN_TIMEOUT)

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        on_the_net = parts.scheme in ("http", "https", "ws", "wss")
        if on_the_net and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            self.trouble.requests.append(url)

    def _said(self, message: object) -> None:
        if message.type == "error":  # type: ignore[attr-defined]
            self.trouble.errors.append(f"console: {message.text}")  # type: ignore[attr-defined]
