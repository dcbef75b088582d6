"""A page opened in headless Chromium: what it has become, and what it complained of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-breakpad", "--disable-crash-reporter",
    "--no-zygote", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--window-size=1280,2000",
)  # fmt: skip
_CONSOLE = re.compile(r"^.*:CONSOLE.*$", re.MULTILINE)


def opened(page: Path, profile: Path, *options: str, script: str = "") -> tuple[str, list[str]]:
    """Return the page's markup once its script has run, and the lines of its console.

    `script` is appended to the page, in place of its policy, so that a test can press keys and buttons.
    """
    assert CHROMIUM is not None
    if script:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
        page = page.with_name(f"driven-{page.name}")
        page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, *_QUIET, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    return found.stdout, _CONSOLE.findall(found.stderr)
