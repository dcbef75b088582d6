"""The command line: ``harmony run``, ``harmony version`` and ``harmony job``.

    commands ──▶ program, replay ──▶ ending       what runs, and how it ends
                      │ opened, closed
                      ▼
                    watch ──▶ display, summary    what is seen meanwhile and afterwards
                      └─────▶ terminal, pace

    job ──▶ job_submit, job_look ──▶ job_follow   what is done to jobs, on the executors that know them
                │                        │
            job_spec, job_show       job_records  what a later command must know

    doctor ──▶ doctor_needs ──▶ doctor_findings   what is here, and whether it works,
                                        │         which is tried in processes of their own
                                   doctor_trial

What a program prints stays its own: the display, the report and every message here go to stderr.
"""

from harmony.cli.commands import main

__all__ = ["main"]
