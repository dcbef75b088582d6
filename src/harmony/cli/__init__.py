"""The command line: ``harmony run`` and ``harmony version``.

    commands ──▶ program, replay ──▶ ending       what runs, and how it ends
                      │ opened, closed
                      ▼
                    watch ──▶ display, summary    what is seen meanwhile and afterwards
                      └─────▶ terminal, pace

What a program prints stays its own: the display, the report and every message here go to stderr.
"""

from harmony.cli.commands import main

__all__ = ["main"]
