"""A JupyterLab of our own in a headless Chromium: what a reader sees, driven by keyboard."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

from playwright.sync_api import Error, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SETTINGS = {
    # The news pop-up would cover the page, and asks the internet.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Cells out of view would leave the document, and their sliders with them.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def chromium() -> str | None:
    """The system's Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """JupyterLab over `folder`, all its own files in there too; yields an address with a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    private = folder / ".jupyter"
    for name, content in SETTINGS.items():
        file = private / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(private / "config"),
        "JUPYTER_DATA_DIR": str(private / "data"),
        "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(private / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(private / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}"]
    command += ["--IdentityProvider.token=reader"]
    log = folder / "jupyterlab.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file)
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/api/status?token=reader", process, log)
            # reset: tabs that an earlier page left open would open again, hidden
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=reader&reset"
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).read()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not come up:\n{log.read_text()[-3000:]}")


@dataclass
class Reader:
    """One page with one notebook open, and all that went wrong on it."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        self.page.wait_for_selector("text=/Python 3 .*Idle/", timeout=90_000)

    def run_all(self, seconds: float) -> float:
        """Run ▸ Run All Cells; the seconds until the last cell has its number."""
        started = time.monotonic()
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        self.page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        prompts = self.page.locator(".jp-CodeCell .jp-InputPrompt")
        while time.monotonic() - started < seconds:
            numbers = [text.strip("[]: \n") for text in prompts.all_inner_texts()]
            if all(number.isdigit() for number in numbers):
                return time.monotonic() - started
            if self.page.locator('[data-mime-type="application/vnd.jupyter.error"]').count():
                break
            self.page.wait_for_timeout(250)
        waiting = [i for i, n in enumerate(prompts.all_inner_texts()) if "*" in n or n == "[ ]:"]
        raise AssertionError(
            f"after {seconds:.0f} s code cells {waiting} have not run: {self.errors()}"
        )

    def errors(self) -> list[str]:
        """What cells and widgets complain about."""
        shown = '[data-mime-type="application/vnd.jupyter.error"], .jupyter-widgets-error-widget'
        return [*self.faults, *self.page.locator(shown).all_inner_texts()]

    def explorers(self) -> list[Locator]:
        return self.page.locator(".kdlib-explorer").all()

    def press(self, explorer: Locator, slider: Locator) -> float:
        """Moves a slider by one key; milliseconds until picture and read-out have both changed."""
        handle = slider.locator(".noUi-handle").first
        handle.scroll_into_view_if_needed()
        handle.focus()
        last = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        # The observer hangs on the document: JupyterLab may replace the nodes of an output.
        explorer.evaluate(
            """root => {
                const picture = () => root.querySelector('.kdlib-picture')?.src;
                const words = () => root.querySelector('.kdlib-readout')?.innerText;
                const before = [picture(), words()];
                window.moved = new Promise((resolve, reject) => {
                    let started = null;
                    document.addEventListener('keydown', () => { started ??= performance.now() },
                                              {capture: true, once: true});
                    const seen = new MutationObserver(() => {
                        if (picture() !== before[0] && words() !== before[1] && started) {
                            seen.disconnect();
                            resolve(performance.now() - started);
                        }
                    });
                    seen.observe(document, {subtree: true, childList: true, attributes: true,
                                            characterData: true});
                    setTimeout(() => { seen.disconnect(); resolve(-1) }, 10000);
                });
            }"""
        )
        self.page.keyboard.press("ArrowLeft" if last else "ArrowRight")
        return float(self.page.evaluate("window.moved"))

    def stop_kernels(self) -> None:
        """Gives the kernels' memory back; closing a page leaves them running."""
        self.page.evaluate(
            """async () => {
                const headers = {Authorization: 'token reader'};
                for (const kernel of await (await fetch('/api/kernels', {headers})).json())
                    await fetch('/api/kernels/' + kernel.id, {method: 'DELETE', headers});
            }"""
        )

    def shoot(self, folder: Path, name: str) -> None:
        """One picture for each screenful of the notebook."""
        folder.mkdir(parents=True, exist_ok=True)
        panel = "document.querySelector('.jp-WindowedPanel-outer')"
        height, step = self.page.evaluate(f"{panel}.scrollHeight"), 780
        for i, top in enumerate(range(0, height, step)):
            self.page.evaluate(f"{panel}.scrollTop = {top}")
            self.page.wait_for_timeout(200)
            self.page.screenshot(path=folder / f"{name}-{i:02d}.png")


@contextlib.contextmanager
def reader(executable: str) -> Iterator[Reader]:
    """A browser page that notes page errors, console errors and requests off this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            one = Reader(page)
            page.on("pageerror", lambda error: one.faults.append(f"page error: {error}"))
            page.on("console", lambda m: _note_console(one, m.type, m.text))
            page.on("request", lambda request: _note_request(one, request.url))
            yield one
        finally:
            with contextlib.suppress(Error):
                browser.close()


def _note_console(one: Reader, kind: str, text: str) -> None:
    # A lab that is closing, or a file that need not be there, is no fault of ours.
    if kind == "error" and "Failed to load resource" not in text:
        one.faults.append(f"console: {text[:300]}")


def _note_request(one: Reader, url: str) -> None:
    host = urlparse(url).hostname
    if host is not None and host not in LOOPBACK:
        one.faults.append(f"a request off this machine: {url}")
