"""What the tests in a real browser share: Chromium, JupyterLab, pages that report what mustn't happen, faint texts."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "no Chromium on the path (Debian: apt-get install chromium)"


@contextmanager
def chromium():
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def watched_page(browser: Browser, **options) -> tuple[Page, list[str]]:
    """An empty page without network, and the list of what must not happen: errors, failed or foreign requests, dialogs."""
    page, bad = browser.new_context(offline=True, accept_downloads=True, **options).new_page(), []
    page.on("console", lambda message: message.type == "error" and bad.append(message.text))
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("requestfailed", lambda request: bad.append(f"failed: {request.url[:200]}"))
    page.on("request", lambda request: request.url.startswith(("file:", "blob:", "data:")) or bad.append(request.url))
    page.on("dialog", lambda dialog: (bad.append(dialog.message), dialog.dismiss()))
    return page, bad


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def jupyterlab(folder: Path, own: Path):
    """A JupyterLab on the folder, its settings in the folder `own`; gives a notebook's address but for its path."""
    port, token = free_port(), "inspector"
    settings = {f"JUPYTER{name}_DIR": str(own / name) for name in ("_CONFIG", "LAB_SETTINGS", "LAB_WORKSPACES", "_RUNTIME")}
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(own / "ipython")}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    options += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = (own / "log").open("w")
    command = [sys.executable, "-m", "jupyterlab", *options]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (own / "log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)


# Texts whose contrast to what lies below them is less than WCAG's AA asks for: 4.5, large texts 3. A colour is what the
# browser paints, whatever way it is written; half transparent ones are laid over each other.
FAINT_TEXTS = """() => {
  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
      known.set(colour, [...brush.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(colour);
  };
  const over = (top, below) => below.map((value, i) => value + (top[i] - value) * top[3] / 255);
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const chain = (element) => (element ? [...chain(element.parentElement), element] : []);
  const faint = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.data.trim(), walker.currentNode.parentElement];
    if (!text || element.closest("script, style, noscript, option")) continue;
    if (!element.checkVisibility({ opacityProperty: true })) continue;
    const styles = chain(element).map((one) => getComputedStyle(one));
    const ground = styles.reduce((below, style) => over(rgba(style.backgroundColor), below), [255, 255, 255]);
    const own = styles.at(-1);
    const [light, dark] = [luminance(over(rgba(own.color), ground)), luminance(ground)].sort((a, b) => b - a);
    const size = parseFloat(own.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(own.fontWeight) >= 700);
    const ratio = (light + 0.05) / (dark + 0.05);
    const told = `${ratio.toFixed(2)} ${text.slice(0, 40)}`;
    if (ratio < (large ? 3 : 4.5)) faint.set(`${own.color} on ${ground.map(Math.round)}`, told);
  }
  return [...faint].map((pair) => pair.join(": "));
}"""
