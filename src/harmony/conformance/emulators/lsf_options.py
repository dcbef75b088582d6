"""How bsub and its kin read their options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harmony.conformance.emulators.model import Refused


def names(text: str) -> tuple[str, ...]:
    """Option names, from a text with blanks between them."""
    return tuple(text.split())


_VALUED = names(
    "a app alloc_flags b c clusters C cwd cn_cu cn_mem core_isolation data D E Ep e env eo eptl eptlu ext extsched F f "
    "freq G g gpu hl_size hostfile i is J Jd jsdl jsm k L Lp M m mig n network nnodes notify o oo outdir P p Q q R "
    "rcacct S s sla smt sp ssdm stage step_cgroup T t U u v W We w wa wt Wep XF"
)
_PLAIN = names("B H h I Ip Is IS ISp ISs IX K N Ne ptl r rn ti tty ul V x X Zs csm hl pack")
_NAME = re.compile(r"(.*?)(?:\[([^\]]*)\](?:%(\d+))?)?$", re.DOTALL)
_END = {"bsub": "\n. Job not submitted."}

Options = list[tuple[str, str]]


def options(
    argv: Sequence[str], program: str, valued: tuple[str, ...] = _VALUED, plain: tuple[str, ...] = _PLAIN
) -> tuple[Options, list[str]]:
    """Read options in the manner of LSF: names of any length behind one dash, a value may be attached."""
    found: Options = []
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        name = words.pop(0)[1:]
        if name == "-":
            break
        attached = next((each for each in sorted(valued, key=len, reverse=True) if name.startswith(each)), None)
        if name in plain:
            found.append((name, ""))
        elif name in valued:
            if not words:
                raise Refused(f"{program}: option requires an argument -- {name}{_END.get(program, '')}", 255)
            found.append((name, words.pop(0)))
        elif attached:
            found.append((attached, name[len(attached) :]))
        else:
            raise Refused(f"{program}: illegal option -- {name}{_END.get(program, '')}", 255)
    return found, words


def embedded(script: str) -> Options:
    """The options in the ``#BSUB`` lines of a script, wherever they are."""
    found: Options = []
    for line in script.splitlines():
        match = re.match(r"\s*#\s*BSUB\s*(-.*)", line)
        if match:
            found += options(list(_words(match[1])), "bsub")[0]
    return found


def _words(line: str) -> Iterator[str]:
    """Split a ``#BSUB`` line: a quote counts at the start of a word; within, nothing is escaped."""
    while line := line.lstrip():
        if line.startswith("#"):
            return
        quote = line[0] if line[0] in "\"'" else ""
        end = line.find(quote, 1) if quote else re.search(r"\s|$", line).start()  # type: ignore[union-attr]
        end = len(line) if end < 0 else end
        yield line[len(quote) : end]
        line = line[end + len(quote) :]


def array(spec: str) -> tuple[str, tuple[int, ...] | None, int]:
    """Read ``name[1-10:2]%5``: the name, the indices, and how many may run at once."""
    match = _NAME.match(spec)
    assert match
    if match[2] is None:
        return spec, None, 0
    indices: list[int] = []
    for piece in match[2].split(","):
        bounds = re.fullmatch(r"\s*(\d+)(?:-(\d+))?(?::(\d+))?\s*", piece)
        if not bounds or int(bounds[1]) < 1:
            raise Refused(f"{spec}: Bad job name. Job not submitted.", 255)
        indices += range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1, int(bounds[3] or 1))
    if not 0 < len(indices) <= 1000:
        raise Refused(f"{spec}: Job array index too large. Job not submitted.", 255)
    return match[1], tuple(indices), int(match[3] or 0)
