"""What the classes mean, in words: their names, and descriptions that the user gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.errors import OptionError, Problem, unknown

Descriptions = tuple[tuple[str, ...], ...]
"""For each class, in order, the sentences that describe it; none where only its name is known."""

_EXAMPLE = 'lines such as  spam: "an advertisement, or a message about a prize"'
_LETTERS = re.compile(r"[^\W\d_]{2}")
_LARGE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def in_words(name: str) -> str:
    """A class name as a person would write it.

    >>> in_words("Refund_not_showing_up"), in_words("sea-lion"), in_words("AppleJuice")
    ('Refund not showing up', 'sea lion', 'Apple Juice')
    """
    return " ".join(re.split(r"[\s_./-]+", _LARGE.sub(" ", name).strip())) or name


def telling(name: str) -> bool:
    """Whether a class name says anything: it holds two letters in a row.

    >>> telling("bees"), telling("7"), telling("a")
    (True, False, False)
    """
    return bool(_LETTERS.search(name))


def describe(classes: Sequence[str], said: Mapping[Any, Any] | str | Path | None) -> Descriptions:
    """The descriptions of `classes`, in their order.

    Args:
        classes: their names.
        said: maps names of classes to a sentence or a list of sentences; or a YAML or JSON file that does; None:
            nothing is said. A class that is not in it is described by its name.

    Returns:
        For each class its sentences; an empty tuple where nothing at all is said.

    Raises:
        OptionError: it names classes that there are not, or says something other than sentences; all of it at once.
    """
    if said is None:
        return ()
    if isinstance(said, str | Path):
        said = read_descriptions(said)
    found: dict[str, tuple[str, ...]] = {}
    problems = []
    for key, value in said.items():
        name = str(key)
        sentences = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
        if name not in classes:
            problems.append(unknown("class", name, classes))
        if not sentences or not all(isinstance(sentence, str) and sentence.strip() for sentence in sentences):
            problems.append(Problem(f"the description of class {name!r}: {value!r}", "a sentence, or a list of them"))
            continue
        found[name] = tuple(sentence.strip() for sentence in sentences)
    if problems:
        raise OptionError(problems)
    return tuple(found.get(name, ()) for name in classes) if found else ()


def read_descriptions(path: str | Path) -> dict[str, Any]:
    """What a YAML or JSON file says about classes: names to sentences. Every scalar is read as text, `yes` and 0 too.

    Raises:
        OptionError: it cannot be read, or holds something else.
    """
    import yaml

    path = Path(path).expanduser()
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)  # noqa: S506 - texts only
    except OSError as error:
        raise OptionError(
            Problem(f"no descriptions in {path}: {error.strerror or error}", f"a YAML file with {_EXAMPLE}")
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise OptionError(Problem(f"{path} cannot be read: {why}", f"a YAML file with {_EXAMPLE}")) from error
    if not isinstance(document, dict):
        raise OptionError(Problem(f"{path} holds no descriptions of classes", f"a YAML file with {_EXAMPLE}"))
    return document
