"""Reading options and directive lines as the real commands do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harmony.conformance.emulators.model import Refused

#: How many values an option has: none, one, or one that may be missing and is given as ``--name=value`` only.
NONE, ONE, MAYBE = 0, 1, 2

Options = list[tuple[str, str | None]]


def long_options(
    argv: Sequence[str], short: str, long: Mapping[str, int], program: str, aliases: Mapping[str, str] = {}
) -> tuple[Options, list[str]]:
    """Read GNU-style options up to the first word that is none; return them by name, and the words that are left.

    `short` is as for `getopt`; `aliases` gives short options their long names. Long names may be abbreviated. Raises
    `Refused` in the words of the C library.
    """
    found: Options = []
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            found.append(_long(word[2:], words, long, program))
        else:
            found += [(aliases.get(letter, letter), value) for letter, value in _short(word[1:], words, short, program)]
    return found, words


def _long(word: str, words: list[str], long: Mapping[str, int], program: str) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    names = [name] if name in long else [each for each in long if each.startswith(name)]
    if not names:
        raise Refused(f"{program}: unrecognized option '--{word}'")
    if len(names) > 1:
        several = " ".join(f"'--{each}'" for each in names)
        raise Refused(f"{program}: option '--{word}' is ambiguous; possibilities: {several}")
    kind = long[names[0]]
    if kind == NONE and equals:
        raise Refused(f"{program}: option '--{names[0]}' doesn't allow an argument")
    if kind == ONE and not equals:
        if not words:
            raise Refused(f"{program}: option '--{names[0]}' requires an argument")
        return names[0], words.pop(0)
    return names[0], value if equals else None


def _short(word: str, words: list[str], short: str, program: str) -> Iterator[tuple[str, str | None]]:
    while word:
        letter, word = word[0], word[1:]
        place = short.find(letter)
        if letter == ":" or place < 0:
            raise Refused(f"{program}: invalid option -- '{letter}'")
        after = short[place + 1 : place + 3]
        if after == "::":  # a value that may be missing, and is attached
            yield letter, word or None
            return
        if after[:1] == ":":
            if not word and not words:
                raise Refused(f"{program}: option requires an argument -- '{letter}'")
            yield letter, word or words.pop(0)
            return
        yield letter, None


def directive_lines(script: str, prefix: str, *, everywhere: bool = False) -> list[str]:
    """What stands behind `prefix` in the lines of a script, up to its first command (or `everywhere`)."""
    found = []
    for line in script.splitlines():
        if line.startswith(prefix):
            found.append(line[len(prefix) :])
        elif line.strip() and not line.lstrip().startswith("#") and not everywhere:
            break
    return found


def words(line: str, program: str, *, escapes: str = "\"' ", comment: str = "") -> list[str]:
    r"""Split a directive line at blanks, honouring quotes.

    A backslash takes the next letter as it is: outside quotes if `escapes` has a blank, within each quote that it has.
    An unquoted `comment` letter ends the line. Raises `Refused` for a quote that is never closed.
    """
    found: list[str] = []
    current: str | None = None
    quote = ""
    letters = iter(line)
    for letter in letters:
        if letter == "\\" and (quote or " ") in escapes:
            current = (current or "") + next(letters, "")
        elif quote:
            if letter == quote:
                quote = ""
            else:
                current = (current or "") + letter
        elif letter in "\"'":
            quote, current = letter, current or ""
        elif letter.isspace():
            if current is not None:
                found.append(current)
            current = None
        elif comment and letter == comment:
            break
        else:
            current = (current or "") + letter
    if quote:
        raise Refused(f"{program}: unmatched {quote}")
    return found if current is None else [*found, current]
