"""What the tests in a real browser share: Chromium, pages that report whatever must not happen, the contrast of texts."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

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
