"""The examples run as a user runs them, in small form, and their results are right."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from harmony import Workflow

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.timeout(180)  # each starts several interpreters that import SciPy and the like
PNG = b"\x89PNG\r\n\x1a\n"

Ended = subprocess.CompletedProcess[str]
Load = Callable[[str], ModuleType]


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = ", ".join(name for name in modules if importlib.util.find_spec(name) is None)
    return pytest.mark.skipif(bool(missing), reason=f"without {missing}: pip install 'harmony-workflows[examples]'")


needs_ase = needs("ase", "matplotlib", "scipy")
needs_sklearn = needs("matplotlib", "sklearn")


def run(example: str, *arguments: object, by: tuple[str, ...] = (sys.executable,)) -> Ended:
    """Run an example's main program in a process of its own."""
    words = [*by, str(EXAMPLES / example / f"{example}.py"), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def forget_examples() -> None:
    for name, loaded in list(sys.modules.items()):
        if str(getattr(loaded, "__file__", None)).startswith(str(EXAMPLES)):
            del sys.modules[name]


# -- equation of state ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    output = tmp_path_factory.mktemp("study")
    arguments = ("--metals", "Cu", "Ag", "--points", 11, "--workers", 2, "--output", output)
    return run("equation_of_state", *arguments), output


@pytest.fixture
def load_study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    monkeypatch.syspath_prepend(str(EXAMPLES / "equation_of_state"))
    yield importlib.import_module
    forget_examples()


def emt_minimum(metal: str, start: float) -> tuple[float, float]:
    """Lattice constant and bulk modulus where EMT's energy is least: by bisection and differences, without a fit."""
    build, emt, units = map(importlib.import_module, ("ase.build", "ase.calculators.emt", "ase.units"))

    def energy(lattice_constant: float) -> float:
        atoms = build.bulk(metal, "fcc", a=lattice_constant)
        atoms.calc = emt.EMT()
        return float(atoms.get_potential_energy())

    step = 1e-3
    low, high = 0.95 * start, 1.05 * start
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if energy(middle + step) > energy(middle - step) else (middle, high)
    curvature = (energy(low + step) - 2 * energy(low) + energy(low - step)) / step**2
    return low, 4 * curvature / (9 * low) / units.GPa  # B = V E''(V) with V = a³/4


@needs_ase
def test_study_ends_well_and_leaves_its_files(study: tuple[Ended, Path]) -> None:
    ended, output = study
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (output / "equation_of_state.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in output.iterdir()) == ["Ag", "Cu", "equation_of_state.png", "results.csv"]
    assert len(list((output / "Cu").glob("*.extxyz"))) == 11
    for expected in ("\nCu ", "\nAg ", "Surf. Sci. 366 (1996) 394", "Kittel", str(output)):
        assert expected in ended.stdout


@needs_ase
@pytest.mark.parametrize(("metal", "start"), [("Cu", 3.61), ("Ag", 4.09)])
def test_study_finds_the_minimum_of_emt(study: tuple[Ended, Path], metal: str, start: float) -> None:
    fit = json.loads((study[1] / metal / "fit.json").read_text())
    lattice_constant, bulk_modulus = emt_minimum(metal, start)
    assert fit["lattice_constant"] == pytest.approx(lattice_constant, abs=0.001)
    assert fit["bulk_modulus"] == pytest.approx(bulk_modulus, rel=0.01)
    assert fit["misfit"] < 1e-4
    assert len(fit["volumes"]) == 11


@needs_ase
def test_study_agrees_with_published_values(study: tuple[Ended, Path]) -> None:
    with (study[1] / "results.csv").open(newline="") as stream:
        rows = {row["metal"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["Cu", "Ag"]
    for row in rows.values():
        for source in ("emt", "measured"):
            assert float(row["lattice_constant"]) == pytest.approx(float(row[f"lattice_constant_{source}"]), rel=0.01)
            assert float(row["bulk_modulus"]) == pytest.approx(float(row[f"bulk_modulus_{source}"]), rel=0.03)
    # ASE's tutorial on equations of state: silver with EMT, 16.781 Å³ per atom and 100.142 GPa
    assert float(rows["Ag"]["lattice_constant"]) == pytest.approx((4 * 16.781) ** (1 / 3), abs=0.002)
    assert float(rows["Ag"]["bulk_modulus"]) == pytest.approx(100.142, rel=0.01)


@needs_ase
def test_published_values_cover_the_metals_of_emt_and_agree_with_other_sources(load_study: Load) -> None:
    published, data = load_study("published"), importlib.import_module("ase.data")
    parameters = importlib.import_module("ase.calculators.emt").parameters
    states = {symbol: data.reference_states[data.atomic_numbers[symbol]] for symbol in parameters}
    assert set(published.MEASURED) == {symbol for symbol, state in states.items() if state["symmetry"] == "fcc"}
    for symbol, measured in published.MEASURED.items():
        assert measured.lattice_constant == pytest.approx(states[symbol]["a"], abs=0.005)  # Ashcroft and Mermin
        ideal = published.ideal(symbol)
        assert ideal.lattice_constant == pytest.approx(measured.lattice_constant, rel=0.005)
        if symbol != "Al":  # its parameters mean a crystal much softer than the real one
            assert ideal.bulk_modulus == pytest.approx(measured.bulk_modulus, rel=0.003)


@needs_ase
def test_study_runs_through_the_command_line_on_another_engine(tmp_path: Path) -> None:
    harmony = (sys.executable, "-m", "harmony", "run", "--engine", "threads")
    ended = run("equation_of_state", "--metals", "Au", "--points", 7, "--output", tmp_path, by=harmony)
    assert ended.returncode == 0, ended.stderr
    assert "9 tasks" in ended.stderr  # 7 crystals, a fit, a summary
    assert json.loads((tmp_path / "Au" / "fit.json").read_text())["lattice_constant"] == pytest.approx(4.056, abs=0.002)


@needs_ase
def test_study_refuses_too_few_points(tmp_path: Path) -> None:
    ended = run("equation_of_state", "--points", 4, "--output", tmp_path / "none")
    assert ended.returncode == 2
    assert "--points must be at least 5" in ended.stderr
    assert not (tmp_path / "none").exists()


# -- hyper-parameter search -------------------------------------------------------------------------


@pytest.fixture
def load_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    monkeypatch.syspath_prepend(str(EXAMPLES / "hyperparameter_search"))
    yield importlib.import_module
    forget_examples()


@needs_sklearn
def test_search_ends_well_and_finds_networks_that_read_digits(tmp_path: Path) -> None:
    ended = run("hyperparameter_search", "--budget", 81, "--seed", 3, "--workers", 2, "--output", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "search.png").read_bytes().startswith(PNG)
    assert "random search" in ended.stdout
    accuracies = [line.split(", ")[1] for line in ended.stdout.splitlines() if "on the test images" in line]
    assert len(accuracies) == 2
    assert all(float(text.split("%")[0]) > 70 for text in accuracies)


@needs_sklearn
def test_search_with_one_worker_is_the_same_each_time(load_search: Load) -> None:
    program = load_search("hyperparameter_search")
    found = []
    for _ in range(2):
        with Workflow(engine="threads", workers=1) as workflow:
            record = program.steered_search(workflow, 60, 5)
        found.append([(trial.candidate, trial.epochs, trial.loss) for trial in record.trials])
        assert record.cost >= 60
    assert found[0] == found[1]


@needs_sklearn
def test_training_on_is_the_same_as_training_longer(load_search: Load) -> None:
    network, steering = load_search("network"), load_search("steering")
    (candidate,) = steering.draw_anywhere(7, 1)
    short = network.train(candidate, 2)
    before = network.test_accuracy(short)
    longer = network.train(candidate, 5, short)
    assert longer.loss == pytest.approx(network.train(candidate, 5).loss)
    assert (short.cost, longer.cost) == (2, 3)
    assert network.test_accuracy(short) == before  # going on leaves the earlier trial as it was


@needs_sklearn
def test_steering_continues_each_of_the_best_once_and_draws_the_next_near_them(load_search: Load) -> None:
    steering, network = load_search("steering"), load_search("network")
    judge = steering.Steering(seed=1)
    asked = [judge.ask() for _ in range(12)]
    assert {epochs for _candidate, epochs, _before in asked} == {1}
    trials = [network.Trial(candidate, 1, 1, loss, 0.5, None) for loss, (candidate, *_) in enumerate(asked)]
    for trial in reversed(trials):
        judge.tell(trial)
    assert [judge.ask() for _ in range(4)] == [(trial.candidate, 3, trial) for trial in trials[:4]]  # a third of 12
    drawn = [judge.ask() for _ in range(200)]
    assert {(epochs, before) for _candidate, epochs, before in drawn} == {(1, None)}

    def distances(candidates: Sequence[Any]) -> list[float]:
        """From each candidate to the nearest of the best three, where every range has length 1."""
        numpy = importlib.import_module("numpy")
        places = numpy.log([list(vars(candidate).values()) for candidate in candidates]) / (
            steering.HIGH - steering.LOW
        )
        best = numpy.log([list(vars(trial.candidate).values()) for trial in trials[:3]]) / (
            steering.HIGH - steering.LOW
        )
        return [float(numpy.linalg.norm(best - place, axis=1).min()) for place in places]

    near = distances([candidate for candidate, *_ in drawn])
    assert median(near) < 0.7 * median(distances(steering.draw_anywhere(2, 200)))
    assert max(near) > 0.7  # some are still drawn anywhere
