"""The generator from a shell: ``python -m harmony.frontends.wfformat generate montage --tasks 100 -o montage.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harmony.errors import ConfigError
from harmony.frontends.wfformat.document import dumps, write
from harmony.frontends.wfformat.shapes import SHAPES, generate
from harmony.resources import parse_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Generate an instance as the arguments say; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        instance = generate(
            arguments.shape,
            arguments.tasks,
            arguments.seed,
            arguments.mean_runtime,
            arguments.mean_file_size,
        )
        if arguments.output == "-":
            sys.stdout.write(dumps(instance))
        else:
            write(instance, arguments.output)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harmony.frontends.wfformat", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("generate", help="write a workflow of a well-known shape, as WfFormat 1.5")
    sub.add_argument("shape", metavar="SHAPE", choices=list(SHAPES), help=", ".join(SHAPES))
    sub.add_argument("--tasks", type=int, default=100, metavar="N", help="about how many tasks (default: 100)")
    sub.add_argument("--seed", type=int, default=0, help="another seed, other run times and sizes (default: 0)")
    sub.add_argument("--mean-runtime", type=float, default=10.0, metavar="SECONDS", help="default: 10")
    sub.add_argument(
        "--mean-file-size", type=_size, default=10**6, metavar="SIZE", help="bytes, or 64kB, 1MiB … (default: 1MB)"
    )
    sub.add_argument("-o", "--output", default="-", metavar="FILE", help="default: standard output")
    return parser


def _size(text: str) -> int:
    try:
        return parse_memory(text) or 0
    except ConfigError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write bytes, or 64kB, 1MiB …") from None


if __name__ == "__main__":
    sys.exit(main())
