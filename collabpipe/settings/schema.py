"""The JSON schema of a configuration, generated from the settings models, for editors and for readers."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from collabpipe.catalogue.noises import NOISES
from collabpipe.common.validation import Strict
from collabpipe.methods.derived import Control
from collabpipe.methods.registry import KINDS
from collabpipe.methods.search import Select
from collabpipe.settings.claims import Rival
from collabpipe.settings.data import ALL_ANNOTATORS, NAME, RATE, DatasetSettings, SourceSettings
from collabpipe.settings.study import Settings
from collabpipe.settings.test_sets import CorruptionSettings
from collabpipe.settings.training import ExecutionSettings, NetworkSettings, TrainingSettings

SECTIONS: tuple[type[Strict], ...] = (
    Settings,
    DatasetSettings,
    SourceSettings,
    CorruptionSettings,
    NetworkSettings,
    Select,
    TrainingSettings,
    ExecutionSettings,
    Rival,
)
"""The models whose keys a configuration has besides those of the methods."""


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the package's source says about each key of a model: the text below it.

    pydantic can read these texts too, but would do so in every process that imports the settings.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base not in Strict.__mro__ and base.__module__.startswith("collabpipe."):
            defined = [node for node in ast.parse(inspect.getsource(base)).body if isinstance(node, ast.ClassDef)]
            for pair in pairwise(defined[0].body):
                match pair:
                    case ast.AnnAssign(target=ast.Name(key)), ast.Expr(ast.Constant(str(text))):
                        found[key] = " ".join(text.split())
    return found


def settings_schema() -> dict[str, Any]:
    """The schema; methods and noise are written as a configuration writes them."""
    kinds: list[type[BaseModel]] = [*KINDS.values(), Control]
    everything: list[type[BaseModel]] = [Settings, Select, *kinds]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in everything]
    references, schema = models_json_schema(models, title="A study of collabpipe")
    definitions = schema["$defs"]
    for explained in (*SECTIONS, *kinds):
        for key, meaning in meanings(explained).items():
            definitions[explained.__name__]["properties"][key]["description"] = meaning
    settings = definitions.pop("Settings")
    settings["properties"]["methods"]["additionalProperties"] = {
        "anyOf": [references[(kind, "validation")] for kind in kinds]
    }
    for kind in kinds:
        keys = definitions[kind.__name__]["properties"]
        own = {name: key for name, key in keys.items() if name not in ("kind", "control_of")}
        one = {"type": "object", "additionalProperties": False, "properties": own}
        definitions[kind.__name__]["properties"] = {
            **keys,
            **{name: _searchable(key) for name, key in own.items()},
            "candidates": {"type": "array", "items": one, "minItems": 1},
            "select": references[(Select, "validation")],
        }
    rated = "|".join(kind for kind in NOISES if kind not in ("none", "human", "file"))
    pattern = f"^(none$|({rated})-{RATE.pattern}$|human-({'|'.join(ALL_ANNOTATORS)})$|file-{NAME.pattern}$)"
    noise = {"type": "array", "items": {"type": "string", "pattern": pattern}}
    for section, allowed in ((settings, noise), (definitions["DatasetSettings"], {"anyOf": [noise, {"type": "null"}]})):
        said = section["properties"]["noise"]["description"]
        section["properties"]["noise"] = {**allowed, "description": said}
    # A network or data set named after its kind or source need not repeat it.
    for model, key in (("NetworkSettings", "kind"), ("DatasetSettings", "source"), ("SourceSettings", "source")):
        definitions[model]["required"] = [name for name in definitions[model].get("required", []) if name != key]
    # With plugins more names are allowed, which nothing but the plugins knows.
    own = {name: settings["properties"][name] for name in ("datasets", "test_sets", "noise", "networks", "methods")}
    for name, keys in own.items():
        settings["properties"][name] = {"type": keys["type"], "description": keys["description"]}
    settings |= {"if": {"not": {"required": ["plugins"]}}, "then": {"properties": own}}
    return {**settings, "$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": definitions}


def _searchable(key: dict[str, Any]) -> dict[str, Any]:
    """A key that takes one value also takes a list of them, to be searched."""
    options = key.get("anyOf", [key])
    if any(option.get("type") == "array" for option in options):
        return key
    if key.get("type") == "object":
        inner = key["additionalProperties"]
        return key | {"additionalProperties": {"anyOf": [inner, {"type": "array", "items": inner}]}}
    about: dict[str, Any] = {name: key[name] for name in ("default", "description", "title") if name in key}
    one = {name: value for name, value in key.items() if name not in about}
    return {"anyOf": [one, {"type": "array", "items": one}], **about}
