"""A page as Chromium shows it: its measures and its picture."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)

_MEASURE = """<script>
const errors = [];
for (const text of document.querySelectorAll("svg text")) {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
  if (box.x < 0 || box.x + box.width > view.width) errors.push(text.textContent + " leaves the picture");
}
const found = {inner: innerWidth, content: document.documentElement.scrollWidth, errors: errors};
document.body.textContent = "MEASURED" + JSON.stringify(found) + "END";
</script>"""


def measured(page: Path, width: int) -> dict[str, Any]:
    """How wide the page and its content are, in CSS pixels, and what of its picture cannot be seen."""
    with TemporaryDirectory() as directory:
        frame, copy = Path(directory) / "frame.html", Path(directory) / "page.html"
        copy.write_text(page.read_text().replace("</body>", f"{_MEASURE}</body>"))
        # a window has a least width; a frame has none
        frame.write_text(
            f'<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
            "<script>onload = () => { document.body.textContent = "
            'document.querySelector("iframe").contentDocument.body.textContent }</script>'
        )
        said = _chromium(directory, "--allow-file-access-from-files", "--dump-dom", f"file://{frame}")
    found = re.search(r"MEASURED(.*?)END", said, re.DOTALL)
    assert found, said[-2000:]
    return json.loads(html.unescape(found[1]))


def picture_of(page: Path, width: int, *, dark: bool) -> Image.Image:
    """The top of the page in grey, in a colour scheme."""
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    with TemporaryDirectory() as directory:
        shot = Path(directory) / "page.png"
        _chromium(directory, *scheme, f"--window-size={width},1600", f"--screenshot={shot}", f"file://{page}")
        return Image.open(shot).convert("L")


def _chromium(directory: str, *arguments: str) -> str:
    argv = ["chromium", *_QUIET, f"--user-data-dir={directory}/profile", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
