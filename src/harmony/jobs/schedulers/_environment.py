"""The submitter's environment, for schedulers that do not hand it on themselves."""

from __future__ import annotations

import os
import re
import shlex

from harmony.jobs.scheduler import Order

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What belongs to the shell or the host that a script runs in.
_OWN = {"_", "BASHOPTS", "EUID", "HOSTNAME", "OLDPWD", "PPID", "PWD", "SHELLOPTS", "SHLVL", "TERM", "TMPDIR", "UID"}


def inherited(order: Order, *prefixes: str) -> list[str]:
    """Return the shell lines that export it, without the scheduler's own variables, if the job is to have it."""
    if not order.spec.inherit_environment:
        return []
    names = (name for name in os.environ if _NAME.fullmatch(name) and name not in _OWN)
    return [f"export {name}={shlex.quote(os.environ[name])}" for name in names if not name.startswith(prefixes)]
