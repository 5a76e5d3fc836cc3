"""Write the reference pages from the code: `make docs`. With --check: say which page is out of date, and exit with 1.

- reference/cli.md: the `--help` pages of every command;
- reference/evidence.md: the schema of `evidence.json`;
- reference/measured.md: the figures of the committed benchmark results;
- reference/api.md: the docstrings of what `headstart` and `headstart.estimators` offer.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from docs.measured import adaptation_text, measured_page, readme_text

REFERENCE = Path(__file__).parent / "reference"
WIDTH = 100
NOTE = "<!-- Written by docs/generate.py from the code. Do not edit: change the code and run `make docs`. -->\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or check all pages; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for name, page in PAGES.items():
        path = REFERENCE / name
        text = page()
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path.relative_to(REFERENCE.parent.parent))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    root = REFERENCE.parent.parent
    for name, filled in FILLED.items():
        path = root / name
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if check and new != old:
            stale.append(path.relative_to(root))
        elif new != old:
            path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path} differs from what the code says: run `make docs` and commit the result", file=sys.stderr)
    return 1 if stale else 0


# -- the command line -------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """The `--help` page of `headstart` and of each of its commands, as a terminal of WIDTH columns shows it."""
    # typer reads these when it is imported, so that a page does not depend on who generates it, or where.
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
        os.environ.pop(name, None)
    os.environ.update(TERMINAL_WIDTH=str(WIDTH), COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")

    from typer.main import get_command

    from headstart.cli import app

    commands: dict[str, Any] = getattr(get_command(app), "commands", {})
    parts = [NOTE, "# The command line\n", _help([])]
    for name, command in commands.items():
        if not command.hidden:
            parts += [f"## headstart {name}\n", _help([name])]
            for inner in getattr(command, "commands", {}):
                parts += [f"### headstart {name} {inner}\n", _help([name, inner])]
    return "\n".join(parts)


def _help(command: list[str]) -> str:
    from typer.testing import CliRunner

    from headstart.cli import app

    result = CliRunner().invoke(app, [*command, "--help"], prog_name="headstart", color=False, catch_exceptions=False)
    if result.exit_code != 0:
        raise RuntimeError(f"headstart {' '.join(command)} --help ended with {result.exit_code}:\n{result.output}")
    lines = [line.rstrip() for line in result.output.strip("\n").splitlines()]
    return "```\n" + "\n".join(lines).strip("\n") + "\n```\n"


# -- evidence.json ----------------------------------------------------------------------------------------------------


def evidence_page() -> str:
    """Every part of the schema as a table of field, type, default and meaning."""
    from headstart.judge.evidence import SCHEMA, Evidence

    schema = Evidence.model_json_schema(by_alias=True, mode="serialization")
    parts = [
        NOTE,
        "# `evidence.json`\n",
        f"What a run found out, for programs. Schema version {SCHEMA} (the field `schema`): within one version fields "
        "are added, never renamed or removed. Scores and gains are fractions, times are seconds, memory is in MiB.\n",
        _table("Evidence", schema, schema["$defs"]),
    ]
    named = dict.fromkeys(re.findall(r'"#/\$defs/(\w+)"', _json(schema["properties"])))
    parts += [
        _table(name, schema["$defs"][name], schema["$defs"])
        for name in [*named, *sorted(schema["$defs"].keys() - named)]
    ]
    return "\n".join(parts)


def _table(name: str, part: dict[str, Any], parts: dict[str, Any]) -> str:
    lines = [
        f"## {name}",
        "",
        _cell(part.get("description", "")),
        "",
        "| field | type | default | meaning |",
        "|---|---|---|---|",
    ]
    required = {field for field, schema in part["properties"].items() if "default" not in schema}
    for field, schema in part["properties"].items():
        default = "" if field in required else f"`{_json(schema['default'])}`"
        meaning = schema.get("description") or _first_sentence(schema, parts)
        lines.append(f"| `{field}` | {_type(schema)} | {default} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _first_sentence(schema: dict[str, Any], parts: dict[str, Any]) -> str:
    """What the part that a field holds says of itself."""
    found = re.search(r'"#/\$defs/(\w+)"', _json(schema))
    return re.split(r"(?<=\.)\s", parts[found[1]].get("description", ""))[0] if found else ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema's type in words; parts of the document are links to their tables."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{_json(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_json(schema['const'])}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    return str(kind)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- the Python interface ---------------------------------------------------------------------------------------------


def api_page() -> str:
    """The public names of `headstart` and `headstart.estimators`, with signatures and docstrings."""
    parts = [NOTE, "# The Python interface\n"]
    for name in ("headstart", "headstart.estimators"):
        module = importlib.import_module(name)
        parts += [f"## {name}\n", markdown(module.__doc__ or "")]
        for public in module.__all__:
            parts += _entry(f"{name}.{public}", getattr(module, public))
    return "\n".join(part for part in parts if part)


def _entry(name: str, thing: Any) -> Iterator[str]:
    if not callable(thing):
        return
    yield f"### {name}\n"
    signature = _signature(thing)
    if signature:
        yield f"```python\n{name.rpartition('.')[2]}{signature}\n```\n"
    yield markdown(inspect.getdoc(thing) or "")
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    for method, value in vars(thing).items():
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        text = inspect.getdoc(value)
        if method.startswith("_") or not text or not _documentable(value):
            continue
        signature = _signature(value) if callable(value) else ""
        yield f"#### {thing.__name__}.{method}\n"
        if signature:
            yield f"```python\n{method}{signature}\n```\n"
        yield markdown(text)


def _documentable(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, property) or type(value).__name__ == "cached_property"


def _signature(thing: Any) -> str:
    """The signature on one line, or on several when it is long; "" where there is none to speak of."""
    if inspect.isclass(thing) and (issubclass(thing, Exception) or hasattr(thing, "model_fields")):
        return ""
    signature = inspect.signature(thing)
    shown = [p for name, p in signature.parameters.items() if name not in ("self", "cls")]
    returns = inspect.Signature.empty if inspect.isclass(thing) else signature.return_annotation
    line = _plain(signature.replace(parameters=shown, return_annotation=returns))
    if len(line) <= WIDTH - 20:
        return line
    rows = [_plain(parameter) for parameter in shown]
    named = next((i for i, p in enumerate(shown) if p.kind is p.KEYWORD_ONLY), None)
    if named is not None and not any(p.kind is p.VAR_POSITIONAL for p in shown):
        rows.insert(named, "*")
    tail = line.rpartition(")")[2]
    return "(\n" + "".join(f"    {row},\n" for row in rows) + ")" + tail


def _plain(part: object) -> str:
    """A signature or parameter without the quotes around annotations, and without addresses."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", re.sub(r" at 0x[0-9a-f]+", "", str(part)))


_SECTION = re.compile(r"(Args|Arguments|Attributes|Parameters|Returns|Yields|Raises):")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([^`]+)`")


def markdown(docstring: str) -> str:
    r"""A Google-style docstring as Markdown: sections become lists, examples become code.

    >>> print(markdown("Add.\n\nArgs:\n    a: one,\n        or more.\n    b: two."), end="")
    Add.
    <BLANKLINE>
    Args:
    <BLANKLINE>
    - `a`: one, or more.
    - `b`: two.
    """
    lines = _ROLE.sub(r"`\1`", inspect.cleandoc(docstring)).splitlines()
    out: list[str] = []
    section = ""
    literal = example = False
    for line in lines:
        if example and not line.strip():
            out += ["```", ""]
            example = False
        elif example:
            out.append(line)
        elif line.lstrip().startswith(">>>"):
            out += ["```python", line]
            example = True
        elif literal and (line.startswith("    ") or not line.strip()):
            out.append(line)
        elif match := _SECTION.fullmatch(line.strip()):
            section = match[1]
            out += [f"{section}:", ""]
        elif section and line.startswith("        "):
            out[-1] += " " + line.strip()
        elif section and line.startswith("    "):
            out.append(_item(line.strip(), section))
        else:
            if section and line.strip():
                section = ""
            literal = line.endswith("::")
            out.append(line.removesuffix("::"))
    if example:
        out.append("```")
    return "\n".join(out).strip("\n") + "\n" if out else ""


def _item(line: str, section: str) -> str:
    """One entry of a section; what follows `Returns:` has no name in front."""
    name, colon, rest = line.partition(": ")
    named = colon and re.fullmatch(r"[\w.*, ]+", name) and section not in ("Returns", "Yields")
    return f"- `{name}`: {rest}" if named else f"- {line}"


FILLED: dict[str, Callable[[str], str]] = {"README.md": readme_text, "docs/explanation/adaptation.md": adaptation_text}
"""Pages with a table between two marks."""
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "evidence.md": evidence_page,
    "api.md": api_page,
    "measured.md": lambda: f"{NOTE}\n{measured_page()}",
}

if __name__ == "__main__":
    sys.exit(main())
