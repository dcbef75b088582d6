"""What the study reports: a table and a CSV file beside published values, and a picture."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase.eos import birchmurnaghan
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from published import EXPERIMENT, MEASURED, POTENTIAL, ideal

Path = str | os.PathLike[str]
Fit = dict[str, Any]

#: The quantities compared, and the decimals to show.
QUANTITIES = (("lattice_constant", 3), ("bulk_modulus", 1))

NOTES = f"""
EMT   what the published parameters of EMT mean for a perfect crystal of nearest neighbours:
      {POTENTIAL}
      ASE counts three shells of neighbours, which makes a shorter, most of all in Al and Ni.
exp.  measured at room temperature; the fits are for 0 K without vibrations:
      {EXPERIMENT}
      EMT's aluminium is far too soft; the column EMT shows that its parameters say so."""


def read_fits(paths: Iterable[Path]) -> list[Fit]:
    """Read the files that fit.py wrote."""
    fits = []
    for path in paths:
        with open(path, encoding="utf-8") as stream:
            fits.append(json.load(stream))
    return fits


def deviation(value: float, reference: float) -> float:
    """Return how far `value` is from `reference`, in per cent."""
    return 100 * (value / reference - 1)


def render_table(fits: Sequence[Fit]) -> str:
    """Return the results beside what the potential implies and what was measured, with the sources."""
    heading = f"{'':7}{'lattice constant a, Å':^41}   {'bulk modulus B, GPa':^41}".rstrip()
    columns = f"{'found':>8}{'EMT':>8}{'Δ':>8}{'exp.':>9}{'Δ':>8}"
    lines = [heading, f"{'metal':7}{columns}   {columns}"]
    lines.append("─" * len(lines[1]))
    rows = [f"{fit['metal']:7}" + "   ".join(_compare(fit, *quantity) for quantity in QUANTITIES) for fit in fits]
    return "\n".join([*lines, *rows, NOTES])


def _compare(fit: Fit, name: str, digits: int) -> str:
    found, emt, measured = fit[name], getattr(ideal(fit["metal"]), name), getattr(MEASURED[fit["metal"]], name)
    return (
        f"{found:8.{digits}f}{emt:8.{digits}f}{deviation(found, emt):+7.1f}%"
        f"{measured:9.{digits}f}{deviation(found, measured):+7.1f}%"
    )


def write_csv(fits: Sequence[Fit], path: Path) -> None:
    """Write one line per metal, with the numbers in full: Å, GPa, eV."""
    rows = []
    for fit in fits:
        emt, measured = ideal(fit["metal"]), MEASURED[fit["metal"]]
        row = {"metal": fit["metal"], "points": len(fit["volumes"]), "misfit_per_atom": fit["misfit"]}
        for name, _digits in QUANTITIES:
            row |= {name: fit[name], f"{name}_emt": getattr(emt, name), f"{name}_measured": getattr(measured, name)}
        rows.append(row)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot_fits(fits: Sequence[Fit], path: Path) -> None:
    """Draw the energies with the fitted curves, and the bulk moduli beside the published ones."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    curves, moduli = figure.subplots(1, 2)
    _draw_curves(curves, fits)
    _draw_moduli(moduli, fits)
    for axes in (curves, moduli):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _draw_curves(axes: Axes, fits: Sequence[Fit]) -> None:
    for fit in fits:
        volumes, energies = np.array(fit["volumes"]), np.array(fit["energies"])
        fine = np.linspace(volumes.min(), volumes.max(), 200)
        curve = birchmurnaghan(fine, *fit["curve_parameters"])
        (dots,) = axes.plot(volumes, 1000 * (energies - fit["energy"]), "o", ms=4, alpha=0.5, mew=0)
        axes.plot(fine, 1000 * (curve - fit["energy"]), lw=1.2, color=dots.get_color(), label=fit["metal"])
    axes.set(xlabel="volume, Å$^3$ per atom", ylabel="energy above the minimum, meV per atom")
    axes.set_title("EMT energies (dots) and Birch–Murnaghan fits (lines)")


def _draw_moduli(axes: Axes, fits: Sequence[Fit]) -> None:
    metals = [fit["metal"] for fit in fits]
    groups = (
        ("found", "C0", [fit["bulk_modulus"] for fit in fits]),
        ("EMT, from its published parameters", "0.55", [ideal(metal).bulk_modulus for metal in metals]),
        ("measured (Kittel)", "0.8", [MEASURED[metal].bulk_modulus for metal in metals]),
    )
    places = np.arange(len(metals))
    for shift, (label, colour, heights) in zip((-0.27, 0, 0.27), groups, strict=True):
        axes.bar(places + shift, heights, width=0.25, color=colour, label=label)
    axes.set_xticks(places, metals)
    axes.set(ylabel="bulk modulus, GPa", title="Bulk moduli beside published values")
