"""Equation of state of the fcc metals: an ensemble of strained crystals, one fit per metal, one summary.

    strain_crystal("Cu", -0.03) ──▶ Cu/00.extxyz ─┐
    strain_crystal("Cu",  ... ) ──▶ Cu/...        ├─▶ fit ──▶ Cu/fit.json ─┐
    strain_crystal("Cu", +0.03) ──▶ Cu/40.extxyz ─┘                        ├─▶ summarise ──▶ table, CSV, plot
    ... the same for the other metals ...               ... Au/fit.json ───┘

Run it with `python equation_of_state.py` or `harmony run equation_of_state.py`; see --help.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from published import MEASURED
from report import plot_fits, read_fits, render_table, write_csv

from harmony import File, Output, Workflow, command, task

FIT = Path(__file__).with_name("fit.py")


@task
def strain_crystal(metal: str, strain: float, cell: Output) -> None:
    """Stretch a crystal alike in all directions and write it with its energy."""
    atoms = bulk(metal, "fcc", a=MEASURED[metal].lattice_constant * (1 + strain), cubic=True)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.write(cell)


@command
def fit(cells: Sequence[File], result: Output) -> list[object]:
    """Fit an equation of state to the cells of one metal: a program of its own, started as a command."""
    return [sys.executable, FIT, result, *cells]


@task
def summarise(fits: Sequence[File], csv: Output, plot: Output) -> str:
    """Compare the fits with published values, in a file, a picture and the table that is returned."""
    results = read_fits(fits)
    write_csv(results, csv)
    plot_fits(results, plot)
    return render_table(results)


def run(options: argparse.Namespace) -> str:
    """Run the whole study and return its table."""
    with Workflow("equation of state", engine=options.engine, workers=options.workers):
        fits = []
        for metal in options.metals:
            folder = options.output / metal
            folder.mkdir(parents=True, exist_ok=True)
            cells = [File(folder / f"{number:02d}.extxyz") for number in range(options.points)]
            for strain, cell in zip(np.linspace(-0.03, 0.03, options.points), cells, strict=True):
                strain_crystal(metal, strain, cell)
            fits.append(File(folder / "fit.json"))
            fit(cells, fits[-1])  # waits for the files it reads, not for a name
        table = summarise(fits, options.output / "results.csv", options.output / "equation_of_state.png")
    return table.result()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fit the equation of state of the fcc metals that EMT describes.")
    parser.add_argument("--metals", nargs="+", choices=MEASURED, default=list(MEASURED), metavar="METAL")
    parser.add_argument("--points", type=int, default=41, help="strained crystals per metal, at least 5")
    parser.add_argument("--output", type=Path, default=Path("results/equation_of_state"), help="directory to write to")
    parser.add_argument("--engine", help="where tasks run: local (the default), threads, inline")
    parser.add_argument("--workers", type=int, help="how many run at once; by default, one per core")
    options = parser.parse_args()
    if options.points < 5:
        parser.error("--points must be at least 5: the curve has four parameters")
    return options


if __name__ == "__main__":
    options = parse_arguments()
    print(run(options))
    print(f"\nFiles are in {options.output}/: results.csv, equation_of_state.png, and per metal the cells and fit.json")
