"""Write the generated pages: docs/configuration.md from the settings models, docs/commands.md from the command line.

python docs/reference.py writes both. A test holds the pages to what this script says.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collabpipe.cli.main import parser
from collabpipe.methods.base import Kind
from collabpipe.methods.derived import Control
from collabpipe.methods.registry import KINDS
from collabpipe.settings.schema import meanings, settings_schema

HERE = Path(__file__).parent
NOISE = "[noise name](../config/README.md#noise)"
LINKS = {
    "DatasetSettings": "[data set](#datasetsname)",
    "SourceSettings": "[source](#test_setsname)",
    "CorruptionSettings": "[keys](#corruptions)",
    "NetworkSettings": "[network](#networksname)",
    "Select": "[keys](#select)",
    "TrainingSettings": "[keys](#training)",
    "ExecutionSettings": "[keys](#execution)",
    "Rival": "[keys](#rival)",
}
METHOD = "[method](#methodsname)"
SECTIONS = {
    "Top level": "",
    "datasets.NAME": "DatasetSettings",
    "test_sets.NAME": "SourceSettings",
    "corruptions": "CorruptionSettings",
    "networks.NAME": "NetworkSettings",
    "training": "TrainingSettings",
    "execution": "ExecutionSettings",
    "rival": "Rival",
}
CONFIGURATION = """\
# Keys of a configuration

Generated from the settings models by `make reference`. [config/README.md](../config/README.md) explains how a
configuration is put together, with examples.
"""
COMMANDS = """\
# Commands

Generated from the command line's own help by `make reference`: `collabpipe COMMAND --help` says the same.
[usage.md](usage.md) shows the commands at work.

All commands take `--results DIR`, the results folder (default: `results`).
"""


def linked(text: str) -> str:
    """`text` with the pages that it names as links, fit for a cell of a table."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text).replace("|", r"\|")


def code(value: object) -> str:
    """A value as a configuration writes it."""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def bounds(schema: dict[str, Any]) -> str:
    """The ends of a number, in words."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return "".join(f" {word} {schema[key]:,}" for key, word in words.items() if key in schema)


def spelled(schema: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if "$ref" in schema:
        return LINKS[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if all("$ref" in option for option in options):  # the kinds of methods
            return METHOD
        return " or ".join(dict.fromkeys(map(spelled, options)))
    match schema.get("type"):
        case "string":
            return NOISE if "human" in schema.get("pattern", "") else "text"
        case "array":
            return f"list: {spelled(schema['items'])}"
        case "object":
            names = schema.get("propertyNames", {}).get("enum")
            inner = schema.get("additionalProperties")
            what = spelled(inner) if isinstance(inner, dict) else "value"
            return f"{', '.join(map(code, names)) if names else 'name'} → {what}"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + bounds(schema)
        case _:
            return "any"


def default(schema: dict[str, Any], required: bool) -> str:
    """What a key is without a value."""
    if required:
        return "required"
    value = schema.get("default")
    if value is None or value == {} or value == []:
        return "none"
    return "the defaults below" if isinstance(value, dict) else code(value)


def rows(model: dict[str, Any], skipped: frozenset[str] = frozenset()) -> Iterator[str]:
    """A table of a model's keys."""
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, schema in model["properties"].items():
        if key not in skipped:
            needed = default(schema, key in model.get("required", ()))
            yield f"| `{key}` | {spelled(schema)} | {needed} | {linked(schema.get('description', ''))} |"


def of_kind(kind: type[Kind]) -> dict[str, Any]:
    """The schema of a kind of method, without what makes keys searchable."""
    schema = kind.model_json_schema()
    for key, meaning in meanings(kind).items():
        schema["properties"][key]["description"] = meaning
    return schema


def configuration() -> str:
    """The page of the keys."""
    schema = settings_schema()
    # With plugins further names are allowed; the page has the package's own.
    schema["properties"] |= schema["then"]["properties"]
    shared = frozenset(Kind.model_fields)
    lines = [CONFIGURATION]
    for title, name in SECTIONS.items():
        lines += [f"## {title}", "", *rows(schema["$defs"][name] if name else schema), ""]
    lines += [
        "## methods.NAME",
        "",
        "`kind` defaults to the method's name. [methods.md](methods.md) has the equations. Every kind takes:",
        "",
        *rows(of_kind(Kind)),
        "",
        "With `select`, a key that takes one value also takes a list of them, and `candidates` lists methods' keys.",
        "",
    ]
    for name, kind in [*KINDS.items(), ("control_of", Control)]:
        lines += [f"### {name}", "", linked(inspect.cleandoc(kind.__doc__ or "")), ""]
        if kind.model_fields.keys() - shared - {"kind"}:
            lines += [*rows(of_kind(kind), shared | {"kind"}), ""]
    lines += ["## select", "", *rows(schema["$defs"]["Select"])]
    return "\n".join(lines) + "\n"


def subparsers(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a command."""
    (found,) = [a.choices for a in of._actions if isinstance(a, argparse._SubParsersAction)] or [{}]
    return dict(found)


def written(action: argparse.Action) -> str:
    """An argument as it is typed."""
    name = action.metavar if isinstance(action.metavar, str) else None
    shown = name or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
    several = {"*": f"[{shown} …]", "+": f"{shown} …", "?": f"[{shown}]"}.get(str(action.nargs), shown)
    if not action.option_strings:
        return several
    return action.option_strings[-1] + ("" if action.nargs == 0 else f" {several}")


def command(name: str, of: argparse.ArgumentParser, level: str) -> Iterator[str]:
    """A command with its arguments, and those below it."""
    yield from (f"{level} {name}", "", linked(inspect.cleandoc(of.description or "")), "")
    common = {"help", "results"}
    own = [a for a in of._actions if a.dest not in common and not isinstance(a, argparse._SubParsersAction)]
    if own:
        yield from ("| argument | meaning |", "|---|---|")
        for action in own:
            choices = f" ({', '.join(map(str, action.choices))})" if action.choices and action.metavar else ""
            meaning = of._get_formatter()._expand_help(action) if action.help else ""
            yield f"| `{written(action)}` | {linked(meaning)}{choices} |"
        yield ""
    for below, one in subparsers(of).items():
        yield from command(f"{name} {below}", one, f"{level}#")


def commands() -> str:
    """The page of the commands."""
    lines = [COMMANDS]
    for name, one in subparsers(parser()).items():
        lines += command(name, one, "##")
    return "\n".join(lines).rstrip() + "\n"


PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration, "commands.md": commands}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")
