"""What a job says to the scheduler beyond its resources: how long, which queue, on whose account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from harmony.errors import InvalidJobException, shown

_FIELDS = ("duration", "queue_name", "account", "reservation_id", "custom_attributes")
_CLOCK = re.compile(r"(\d+):(\d{1,2})(?::(\d{1,2})(\.\d+)?)?")
_COUNTED = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class JobAttributes:
    """Walltime, queue, account, reservation, and what only one scheduler knows.

    `duration` is the walltime, 10 minutes if it is not given. `custom_attributes` maps ``"SCHEDULER.OPTION"`` to a
    value: ``{"slurm.constraint": "gpu"}``; ``None``, ``True`` or an empty text as the value gives an option without
    one. Options of another scheduler than the one that the job is submitted to are ignored, so that one specification
    can serve several. `project_name` is the specification's older word for `account`.
    """

    def __init__(
        self,
        duration: timedelta = timedelta(minutes=10),
        queue_name: str | None = None,
        account: str | None = None,
        reservation_id: str | None = None,
        custom_attributes: Mapping[str, object] | None = None,
        project_name: str | None = None,
    ) -> None:
        self.duration = duration
        self.queue_name = queue_name
        self.account = account if project_name is None else project_name
        self.reservation_id = reservation_id
        if custom_attributes is not None and not isinstance(custom_attributes, Mapping):
            raise InvalidJobException(
                f"custom_attributes={shown(custom_attributes)} must map 'SCHEDULER.OPTION' to values"
            )
        self.custom_attributes: dict[str, object] | None = (
            custom_attributes
            if custom_attributes is None or isinstance(custom_attributes, dict)
            else dict(custom_attributes)
        )

    @property
    def project_name(self) -> str | None:
        """The same as `account`."""
        return self.account

    @project_name.setter
    def project_name(self, value: str | None) -> None:
        self.account = value

    def set_custom_attribute(self, name: str, value: object) -> None:
        """Set ``"SCHEDULER.OPTION"`` to a value."""
        self.custom_attributes = {**(self.custom_attributes or {}), name: value}

    def get_custom_attribute(self, name: str) -> object | None:
        """Return the value of ``"SCHEDULER.OPTION"``, or None."""
        return (self.custom_attributes or {}).get(name)

    def options(self, *prefixes: str) -> dict[str, str | None]:
        """The custom attributes of a scheduler, without its prefix; None stands for an option without a value."""
        found: dict[str, str | None] = {}
        for name, value in (self.custom_attributes or {}).items():
            prefix, _, option = name.partition(".")
            if prefix.lower() in prefixes and value is not False:
                found[option] = None if value is None or value is True or value == "" else str(value)
        return found

    def check(self) -> None:
        """Raise `InvalidJobException` naming the attribute that cannot be."""
        if not isinstance(self.duration, timedelta) or self.duration <= timedelta(0):
            raise InvalidJobException(f"duration={self.duration!r} must be a timedelta greater than 0")
        for name in ("queue_name", "account", "reservation_id"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidJobException(f"{name}={shown(value)} must be a text that is not empty")
            if value is not None and any(ord(letter) < 32 for letter in value):
                raise InvalidJobException(f"{name}={value!r} must not hold a newline or another control character")
        for name, value in (self.custom_attributes or {}).items():
            prefix, _, option = name.partition(".") if isinstance(name, str) else ("", "", "")
            if not prefix or not option.strip():
                raise InvalidJobException(f"custom_attributes: {name!r} must be 'SCHEDULER.OPTION'")
            if any(ord(letter) < 32 for letter in f"{name}{value}"):
                raise InvalidJobException(
                    f"custom_attributes: {name}={value!r} must not hold a newline or another control character"
                )

    @staticmethod
    def parse_walltime(walltime: str) -> timedelta:
        """Return the duration that a text stands for.

        ``hh:mm:ss``, ``hh:mm``, a bare number of minutes, or a number with a unit: ``90s``, ``1.5 h``, ``2d``,
        ``1h 30m``. Raises `ValueError` for anything else.
        """
        text = walltime.strip()
        if match := _CLOCK.fullmatch(text):
            hours, minutes, seconds, fraction = match.groups()
            return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(f"{seconds or 0}{fraction or ''}"))
        if text.isascii() and text.isdigit():
            return timedelta(minutes=int(text))
        if text and not _COUNTED.sub("", text).strip():
            return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _COUNTED.findall(text)))
        raise ValueError(f"walltime={walltime!r} is not hh:mm:ss, hh:mm, minutes, or a number with d, h, m or s")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobAttributes):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name in _FIELDS if (value := getattr(self, name)) is not None)
        return f"JobAttributes({', '.join(given)})"
