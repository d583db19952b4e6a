"""Pages in a real browser that can reach nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    result = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing at all can be reached
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    return result


def driven(report: Path, script: str) -> Path:
    """Copy a report with one more script, which its own security policy would not let run."""
    html = report.read_text(encoding="utf-8")
    html, found = re.subn(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    assert found == 1
    page = report.with_name("driven.html")
    page.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return page


def width_in_frame(report: Path, width: int) -> int:
    """Return how wide a report is in a frame of so many pixels; windows are never that narrow."""
    page = driven(report, "parent.postMessage(document.documentElement.scrollWidth, '*')")
    frame = report.with_name("frame.html")
    frame.write_text(
        "<script>onmessage = (told) => { document.body.dataset.width = told.data; };</script>"
        f'<body><iframe src="{page.name}" width="{width}" height="900" frameborder="0"></iframe>'
    )
    profile = report.with_name("profile")
    dom = browse(frame, profile, "--dump-dom", "--window-size=1300,1000").stdout
    told = re.search(r'data-width="(\d+)"', dom)
    assert told is not None
    return int(told[1])
