"""`make screenshots`: pictures of the dashboards for the documentation, taken from the demo's team in the viewer."""

from __future__ import annotations

import base64
import struct
import tempfile
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

from selenium import webdriver

from cvat_analytics import dashboards
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks.smoke import run
from cvat_analytics.embedded import stack, starting
from cvat_analytics.store import working_time_report
from scripts.demo import go_on, send_history
from tests.browser import Page, chromium

IMAGES = ROOT / "docs" / "images"
WIDTH = 1600
MOST_BYTES = 300_000
_WORK = 180
"""Seconds that the team goes on working, so that Vector has something to report: the dashboard Pipeline shows it."""

# The 256 colours that a picture has most of; every other one becomes the nearest of them, which nobody sees: they are the
# soft edges of letters. Answers with the colours and, row by row, the place of each point's colour among them.
_INDEXED = """
const [picture, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = Object.assign(document.createElement('canvas'), {width: image.width, height: image.height});
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const points = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  const counts = new Map();
  for (const point of points) counts.set(point, (counts.get(point) ?? 0) + 1);
  const colors = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([color]) => color);
  const places = new Map(colors.map((color, place) => [color, place]));
  const parts = (color) => [color & 255, (color >> 8) & 255, (color >> 16) & 255];
  const known = colors.map(parts);
  const nearest = (color) => {
    const own = parts(color);
    const far = (other) => other.reduce((sum, part, i) => sum + (part - own[i]) ** 2, 0);
    return known.reduce((best, other, place) => (far(other) < far(known[best]) ? place : best), 0);
  };
  let text = '';
  for (const point of points) {
    if (!places.has(point)) places.set(point, nearest(point));
    text += String.fromCharCode(places.get(point));
  }
  done({width: canvas.width, height: canvas.height, colors: known, points: btoa(text)});
};
image.src = 'data:image/png;base64,' + picture;
"""


def main() -> None:
    """Start a stack, fill it, and write one picture for each dashboard."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as directory:
        running = starting.up(Path(directory))
        try:
            now = datetime.now(UTC)
            send_history(running.access(), now)
            failed = [result.detail for result in run(running.access()) if result.passed is False]
            if failed:
                raise SystemExit(f"the stack does not work: {failed}")
            stop = threading.Event()
            threading.Timer(_WORK, stop.set).start()
            go_on(stop, running.access(), now)
            list(working_time_report.refresh(running.access()))
            with chromium(WIDTH) as browser:
                page = Page(browser, running.describe()["viewer"]["http"])
                for dashboard in dashboards.load():
                    _take(page, dashboard)
        finally:
            stack.down(Path(directory))


def _take(page: Page, dashboard: dashboards.Dashboard) -> None:
    # the stack is minutes old: over a day there would be nothing to see of Vector
    page.open(dashboard.uid, **({"from": "now-6m"} if dashboard.file.stem == "pipeline" else {}))
    height = page.run("return document.documentElement.scrollHeight")
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    page.wait(lambda: page.run("return innerHeight") == height)
    picture = page.browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": False}
    )
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    content = _smaller(page.browser, picture["data"])
    file = IMAGES / f"{dashboard.file.stem}.png"
    file.write_bytes(content)
    print(f"{file.relative_to(ROOT)}: {WIDTH} x {height}, {len(content) // 1000} kB")
    if len(content) > MOST_BYTES:
        raise SystemExit(f"{file}: has more than {MOST_BYTES} bytes")


def _smaller(browser: webdriver.Chrome, picture: str) -> bytes:
    """Return a picture (PNG in base64) as a PNG with 256 colours. https://www.w3.org/TR/png/ has the format."""
    browser.get("about:blank")
    made = browser.execute_async_script(_INDEXED, picture)
    width, points = made["width"], base64.b64decode(made["points"])
    # each row begins with its filter: none
    rows = b"".join(b"\0" + points[at : at + width] for at in range(0, len(points), width))
    header = struct.pack(">IIBBBBB", width, made["height"], 8, 3, 0, 0, 0)
    palette = bytes(part for color in made["colors"] for part in color)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


if __name__ == "__main__":
    main()
