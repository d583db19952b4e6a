"""Pages in a real browser that can reach nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

_LOOK = Path(__file__).with_name("look.js")


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
    page = report.with_name(f"driven-{report.name}")
    page.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return page


def looked_at(reports: Sequence[Path], widths: Sequence[int]) -> dict[str, list[str]]:
    """Show pages in frames of these widths, light and dark, in one browser; windows are never as
    narrow as a phone.

    Returns:
        What is wrong, by page, width and scheme.
    """
    frames = []
    for report in reports:
        name = driven(report, _LOOK.read_text(encoding="utf-8")).name
        frames += [
            f'<iframe src="{name}#{width}-{scheme}" width="{width}" height="900" frameborder="0" '
            f'style="color-scheme: {scheme}"></iframe>'
            for width in widths
            for scheme in ("light", "dark")
        ]
    frame = reports[0].with_name("frame.html")
    frame.write_text(
        "<body><script>const told = {}; onmessage = ({data: [name, faults]}) => {"
        "told[name] = faults; document.body.dataset.told = JSON.stringify(told); };"
        f"</script>{''.join(frames)}"
    )
    profile = reports[0].with_name("profile")
    options = ("--dump-dom", "--window-size=1300,1000", "--virtual-time-budget=5000")
    dom = browse(frame, profile, *options).stdout
    told = re.search(r'data-told="([^"]*)"', dom)
    assert told is not None
    found: dict[str, list[str]] = json.loads(unescape(told[1]))
    assert len(found) == len(frames)
    return found
