"""Shapes: generated instances with the structure of well-known workflows.

`chain` and `fan` are the two extremes. The others follow the applications stage by stage, file by file:
`montage` (mosaics of the sky), `epigenomics` (mapping of DNA methylation), `1000genome` (mutational overlap).
Run times and sizes scatter log-normally around a weight per stage, whose proportions are of the order reported
for the applications, and are scaled to the means asked for. The same arguments give the same instance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from harmony.errors import ConfigError
from harmony.frontends.wfformat.instance import Execution, Instance, TaskRun, TraceFile, TraceTask

#: All people, the five continental groups, and one country.
_POPULATIONS = ("ALL", "EUR", "EAS", "AFR", "AMR", "SAS", "GBR")
_KB, _MB, _GB = 1e3, 1e6, 1e9


def generate(
    shape: str, tasks: int, seed: int = 0, mean_runtime: float = 10.0, mean_file_size: float = 1e6
) -> Instance:
    """Make an instance of about so many tasks; `chain`, `fan` and `1000genome` have exactly as many.

    `mean_runtime` is in seconds over all tasks, `mean_file_size` in bytes over all files. Raises `ConfigError`
    for an unknown shape, and for fewer tasks than the shape has at least.
    """
    if shape not in SHAPES:
        raise ConfigError(f"there is no shape {shape!r}; the shapes are: {', '.join(SHAPES)}")
    build, least = SHAPES[shape]
    if isinstance(tasks, bool) or not isinstance(tasks, int) or tasks < least:
        raise ConfigError(f"tasks={tasks!r}: {shape} has at least {least} tasks; give a whole number from {least} on")
    for name, value in (("mean_runtime", mean_runtime), ("mean_file_size", mean_file_size)):
        if not 0 <= value < math.inf:
            raise ConfigError(f"{name}={value!r} must be a number, at least 0")
    draft = _Draft(random.Random(f"{shape} {tasks} {seed}"))
    build(draft, tasks)
    return draft.instance(shape, seed, mean_runtime, mean_file_size)


class _Draft:
    """An instance being made: each edge comes from a file that one task writes and another reads."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._sizes: dict[str, float] = {}
        self._tasks: list[tuple[str, str, float, tuple[str, ...], tuple[str, ...]]] = []
        self._counts: dict[str, int] = {}

    def file(self, name: str, weight: float, spread: float = 0.2) -> str:
        """Add a file."""
        self._sizes[name] = weight * self.rng.lognormvariate(0, spread)
        return name

    def task(
        self, kind: str, weight: float, inputs: Iterable[str], outputs: Sequence[str], spread: float = 0.3
    ) -> None:
        """Add a task that reads and writes files added before."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        runtime = weight * self.rng.lognormvariate(0, spread)
        self._tasks.append((f"{kind}_{self._counts[kind]:06d}", kind, runtime, tuple(inputs), tuple(outputs)))

    def instance(self, shape: str, seed: int, mean_runtime: float, mean_file_size: float) -> Instance:
        """Scale to the means, and derive parents and children from the files."""
        producers = {file: id for id, _, _, _, outputs in self._tasks for file in outputs}
        parents = {
            id: tuple(dict.fromkeys(producers[file] for file in inputs if file in producers))
            for id, _, _, inputs, _ in self._tasks
        }
        children: dict[str, list[str]] = {id: [] for id in parents}
        for id, above in parents.items():
            for parent in above:
                children[parent].append(id)
        per_second = mean_runtime * len(self._tasks) / math.fsum(runtime for _, _, runtime, _, _ in self._tasks)
        per_byte = mean_file_size * len(self._sizes) / math.fsum(self._sizes.values())
        return Instance(
            name=f"{shape}-{len(self._tasks)}",
            description=f"Generated in the shape of {shape} with seed {seed}; it has not been executed",
            tasks=tuple(
                TraceTask(
                    id=id,
                    name=kind,
                    parents=parents[id],
                    children=tuple(children[id]),
                    inputs=inputs,
                    outputs=outputs,
                    run=TaskRun(runtime=round(runtime * per_second, 6)),
                )
                for id, kind, runtime, inputs, outputs in self._tasks
            ),
            files=tuple(TraceFile(name, round(size * per_byte)) for name, size in self._sizes.items()),
            execution=Execution(0.0, "1970-01-01T00:00:00Z"),
        )


def _chain(draft: _Draft, tasks: int) -> None:
    files = [draft.file(f"link_{index:06d}.dat", 1) for index in range(tasks + 1)]
    for before, after in pairwise(files):
        draft.task("link", 1, [before], [after])


def _fan(draft: _Draft, tasks: int) -> None:
    source = draft.file("input.dat", 10)
    parts = [draft.file(f"part_{index:06d}.dat", 1) for index in range(tasks - 2)]
    draft.task("split", 1, [source], parts)
    results = [draft.file(f"result_{index:06d}.dat", 0.5) for index in range(tasks - 2)]
    for part, result in zip(parts, results, strict=True):
        draft.task("work", 4, [part], [result])
    draft.task("merge", 2, results, [draft.file("output.dat", 1)])


# -- montage -----------------------------------------------------------------------------------------


def _montage(draft: _Draft, tasks: int) -> None:
    """Three colour bands, each a mosaic of its own, and a picture of all three; one band where tasks are few."""
    bands = 3 if tasks >= 60 else 1
    header = draft.file("region.hdr", 0.3 * _KB, 0)
    mosaics = [
        _montage_band(draft, f"{band + 1}", (tasks - (bands > 1) + band) // bands, header) for band in range(bands)
    ]
    if bands > 1:
        draft.task("mViewer", 3, mosaics, [draft.file("mosaic-color.png", 1 * _MB)])


def _montage_band(draft: _Draft, band: str, tasks: int, header: str) -> str:
    """Reproject the images, fit the differences of those that overlap, level the background, add; return the mosaic."""
    images, pairs = _overlaps(draft.rng, tasks - 5)
    projected = []
    for image in range(images):
        raw = draft.file(f"{band}-image_{image:04d}.fits", 1.5 * _MB)
        projected.append(_fits(draft, f"{band}-p_{image:04d}", 4.1 * _MB))
        draft.task("mProject", 16, [raw, header], projected[-1], 0.2)
    fits = [draft.file(f"{band}-fit_{a:04d}_{b:04d}.txt", 0.3 * _KB, 0.05) for a, b in pairs]
    for (a, b), fit in zip(pairs, fits, strict=True):
        draft.task("mDiffFit", 0.5, [*projected[a], *projected[b], header], [fit], 0.6)
    table = draft.file(f"{band}-fits.tbl", 0.07 * _KB * len(pairs))
    draft.task("mConcatFit", 0.1 + len(pairs) * 0.006, fits, [table])
    images_table = draft.file(f"{band}-images.tbl", 0.3 * _KB * images)
    corrections = draft.file(f"{band}-corrections.tbl", 0.05 * _KB * images)
    draft.task("mBgModel", 0.3 + images * 0.25, [images_table, table], [corrections])
    corrected = []
    for image in range(images):
        corrected.append(_fits(draft, f"{band}-c_{image:04d}", 4.1 * _MB))
        draft.task("mBackground", 2, [*projected[image], images_table, corrections], corrected[-1], 0.4)
    updated = draft.file(f"{band}-corrected.tbl", 0.3 * _KB * images)
    draft.task("mImgtbl", 0.2 + images * 0.003, [images_table, *(image for image, _ in corrected)], [updated])
    mosaic = _fits(draft, f"{band}-mosaic", 1.3 * _MB * images)
    draft.task("mAdd", 0.4 + images * 0.01, [updated, header, *(file for pair in corrected for file in pair)], mosaic)
    draft.task("mViewer", 2, mosaic[:1], [draft.file(f"{band}-mosaic.png", 0.6 * _MB)])
    return mosaic[0]


def _fits(draft: _Draft, name: str, weight: float) -> tuple[str, str]:
    return draft.file(f"{name}.fits", weight, 0.05), draft.file(f"{name}_area.fits", weight, 0.05)


def _overlaps(rng: random.Random, tasks: int) -> tuple[int, list[tuple[int, int]]]:
    """Lay images on a grid: how many, and which overlap, so that 2 × images + pairs is about `tasks`.

    Neighbours by side always overlap, those by corner as often as the number of tasks asks for.
    """
    images = 2
    sides, corners = _neighbours(images)
    while 2 * images + len(sides) + len(corners) < tasks:
        images += 1
        sides, corners = _neighbours(images)
    if 2 * images + len(sides) > tasks and images > 2:
        images -= 1
        sides, corners = _neighbours(images)
    chosen = sorted(corners, key=lambda _: rng.random())[: max(0, tasks - 2 * images - len(sides))]
    return images, sorted([*sides, *chosen])


def _neighbours(images: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    columns = math.isqrt(images - 1) + 1
    sides, corners = [], []
    for image in range(images):
        column = image % columns
        if column + 1 < columns and image + 1 < images:
            sides.append((image, image + 1))
        if image + columns < images:
            sides.append((image, image + columns))
        if column + 1 < columns and image + columns + 1 < images:
            corners.append((image, image + columns + 1))
        if column > 0 and image + columns - 1 < images:
            corners.append((image, image + columns - 1))
    return sides, corners


# -- epigenomics -------------------------------------------------------------------------------------


def _epigenomics(draft: _Draft, tasks: int) -> None:
    """Lanes of a sequencer, each split into chunks that go through four programs and are merged; then all lanes."""
    lanes = max(1, min(8, tasks // 100))
    chunks = max(lanes, round((tasks - 3 - 2 * lanes) / 4))
    reference = draft.file("reference.bfa", 47 * _MB, 0)
    merged = [_lane(draft, lane, share, reference) for lane, share in enumerate(_shares(chunks, lanes))]
    everything = draft.file("all.map", 1.2 * _MB * chunks)
    draft.task("mapMerge", 2 + 0.1 * chunks, merged, [everything])
    index = draft.file("all.index.map", 1.2 * _MB * chunks)
    draft.task("maqIndex", 3 + 0.15 * chunks, [everything], [index])
    null = draft.file("reference-null.bfa", 47 * _MB, 0)
    draft.task("pileup", 28, [index, null], [draft.file("all.pileup", 10 * _MB)])


def _lane(draft: _Draft, lane: int, chunks: int, reference: str) -> str:
    name = f"lane_{lane + 1}"
    parts = [f"{name}.{chunk:04d}" for chunk in range(chunks)]
    sequence = draft.file(f"{name}.sfq", 15 * _MB * chunks)
    split = [draft.file(f"{part}.sfq", 15 * _MB) for part in parts]
    draft.task("fastQSplit", 4 + 0.7 * chunks, [sequence], split)
    maps = []
    for part, piece in zip(parts, split, strict=True):
        clean = draft.file(f"{part}.nocontam.sfq", 13 * _MB)
        draft.task("filterContams", 24, [piece], [clean], 0.4)
        sanger = draft.file(f"{part}.fq", 9.6 * _MB)
        draft.task("sol2sanger", 15, [clean], [sanger], 0.4)
        binary = draft.file(f"{part}.bfq", 2.8 * _MB)
        draft.task("fast2bfq", 5, [sanger], [binary], 0.4)
        maps.append(draft.file(f"{part}.map", 1.2 * _MB))
        draft.task("map", 56, [binary, reference], [maps[-1]])
    merged = draft.file(f"{name}.map", 1.2 * _MB * chunks)
    draft.task("mapMerge", 1 + 0.1 * chunks, maps, [merged])
    return merged


# -- 1000genome --------------------------------------------------------------------------------------


def _genome(draft: _Draft, tasks: int) -> None:
    """Chromosomes, each read in parts by individuals, merged, and compared for every population."""
    chromosomes = max(1, min(22, tasks // 45))
    populations = _POPULATIONS[: max(1, min(7, (tasks - 3) // 4))]
    columns = draft.file("columns.txt", 20 * _KB, 0)
    groups = [draft.file(name, 8 * _KB, 0.5) for name in populations]
    individuals = tasks - chromosomes * (2 + 2 * len(groups))
    for number, parts in enumerate(_shares(individuals, chromosomes), start=1):
        _chromosome(draft, f"chr{number}", parts, columns, groups)


def _chromosome(draft: _Draft, name: str, parts: int, columns: str, groups: Sequence[str]) -> None:
    variants = draft.file(f"ALL.{name}.vcf", 1 * _GB)
    pieces = []
    for part in range(parts):
        pieces.append(draft.file(f"{name}n-{part + 1:04d}.tar.gz", 28 * _KB))
        draft.task("individuals", 100, [variants, columns], [pieces[-1]], 0.15)
    merged = draft.file(f"{name}n.tar.gz", 24 * _KB)
    draft.task("individuals_merge", 4 * parts, pieces, [merged], 0.05)
    annotation = draft.file(f"ALL.{name}.annotation.vcf", 470 * _MB)
    sifted = draft.file(f"sifted.SIFT.{name}.txt", 1.5 * _MB)
    draft.task("sifting", 6, [annotation], [sifted], 0.5)
    for group in groups:
        overlap = draft.file(f"{name}-{group}.tar.gz", 150 * _KB)
        draft.task("mutation_overlap", 15, [merged, sifted, group, columns], [overlap], 0.7)
        frequency = draft.file(f"{name}-{group}-freq.tar.gz", 280 * _KB)
        draft.task("frequency", 140, [merged, sifted, group, columns], [frequency], 0.2)


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]


#: Shape → what builds it, and how many tasks it has at least.
SHAPES: dict[str, tuple[Callable[[_Draft, int], None], int]] = {
    "chain": (_chain, 1),
    "fan": (_fan, 3),
    "montage": (_montage, 10),
    "epigenomics": (_epigenomics, 9),
    "1000genome": (_genome, 5),
}
