"""JSON in what a command prints, where a site or a login script may print lines of its own before or after it."""

from __future__ import annotations

import json
import re
from typing import Any

_OPENING = re.compile(r"^\s*[\[{]", re.MULTILINE)
_CLOSING = re.compile(r"[\]}]\s*$", re.MULTILINE)


def json_in(out: str) -> Any:
    """Return the first value of JSON that begins and ends with its lines. Raises `ValueError` if there is none."""
    ends = [match.start() + 1 for match in _CLOSING.finditer(out)]
    for opening in _OPENING.finditer(out):
        try:
            value, end = json.JSONDecoder().raw_decode(out, opening.end() - 1)
        except ValueError:
            continue
        if end in ends:
            return value
    raise ValueError("there is no JSON")
