"""The jobs engine: each command is one job of a scheduler, and outlives the program that submitted it."""

from harmony.engines.jobs.engine import JobEngine

__all__ = ["JobEngine"]
