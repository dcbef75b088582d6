"""Emulated batch systems: the commands of Slurm, PBS, … on a laptop, with jobs that really run and faults to order."""

from harmony.conformance.emulators.dialect import DIALECTS
from harmony.conformance.emulators.emulator import Emulator
from harmony.conformance.emulators.model import Fault, How, Job, Settings, State

__all__ = ["DIALECTS", "Emulator", "Fault", "How", "Job", "Settings", "State"]
