"""Fit an equation of state: python fit.py FIT.json CELL.extxyz...

Reads cells of one metal with their energies and writes the Birch-Murnaghan curve through them.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from ase.eos import EquationOfState
from ase.io import read
from ase.units import GPa

ATOMS_PER_CUBE = 4  # of an fcc crystal


def main(output: str, *paths: str) -> None:
    """Fit the cells in `paths` and write the result to `output`."""
    cells = [read(path) for path in paths]
    volumes = np.array([cell.get_volume() / len(cell) for cell in cells])
    energies = np.array([cell.get_potential_energy() / len(cell) for cell in cells])

    curve = EquationOfState(volumes, energies, eos="birchmurnaghan")
    volume, energy, bulk_modulus = curve.fit()
    misfit = energies - curve.func(volumes, *curve.eos_parameters)

    result = {
        "metal": cells[0].get_chemical_symbols()[0],
        "lattice_constant": (ATOMS_PER_CUBE * volume) ** (1 / 3),  # Å
        "bulk_modulus": bulk_modulus / GPa,
        "energy": energy,  # eV per atom, as everything below
        "misfit": float(np.sqrt(np.mean(misfit**2))),
        "curve_parameters": list(curve.eos_parameters),
        "volumes": list(volumes),
        "energies": list(energies),
    }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream, indent=1)
    print(f"{result['metal']}: a = {result['lattice_constant']:.4f} Å, B = {result['bulk_modulus']:.1f} GPa")


if __name__ == "__main__":
    main(*sys.argv[1:])
