"""Published values of the fcc metals, and what the published parameters of EMT imply."""

from __future__ import annotations

import math
from typing import NamedTuple

from ase.calculators.emt import parameters
from ase.units import Bohr, GPa

#: The solid-state textbook the measured values are from; both tables are for room temperature.
EXPERIMENT = "C. Kittel, Introduction to Solid State Physics, 8th ed. (Wiley, 2005), ch. 1 table 3, ch. 3 table 3"
#: The paper that gives EMT's energy function and its parameters, which are read from `ase.calculators.emt`.
POTENTIAL = "K. W. Jacobsen, P. Stoltze, J. K. Nørskov, Surf. Sci. 366 (1996) 394, doi:10.1016/0039-6028(96)00816-3"


class Crystal(NamedTuple):
    """An fcc crystal at rest: its cubic lattice constant in Å and its bulk modulus in GPa."""

    lattice_constant: float
    bulk_modulus: float


#: Every metal that EMT describes: the measured values, from EXPERIMENT.
MEASURED = {
    "Al": Crystal(4.05, 72.2),
    "Ni": Crystal(3.52, 186.0),
    "Cu": Crystal(3.61, 137.0),
    "Pd": Crystal(3.89, 180.8),
    "Ag": Crystal(4.09, 100.7),
    "Pt": Crystal(3.92, 278.3),
    "Au": Crystal(4.08, 173.2),
}


def ideal(symbol: str) -> Crystal:
    """Return what EMT's published parameters mean for a perfect crystal.

    The energy of an atom in it is E0 (1 + x) exp(-x) with x = λ (s - s0), s being the radius of its
    share of the volume; so s0 fixes the lattice constant, and the curvature at s0, -E0 λ², the bulk
    modulus. That is exact when only nearest neighbours count; ASE's implementation counts three shells.
    """
    e0, s0, _v0, _eta2, _kappa, lambda_, _n0 = parameters[symbol]
    radius, decay = s0 * Bohr, lambda_ / Bohr
    lattice_constant = radius * (16 * math.pi / 3) ** (1 / 3)
    return Crystal(lattice_constant, -e0 * decay**2 / (12 * math.pi * radius) / GPa)
