"""Errors of a configuration for the person who wrote it: file, line, key, value, what is allowed, nearest match."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from collabpipe.common.errors import CollabpipeError, nearest
from collabpipe.common.files import expand_user
from collabpipe.common.plugins import place_of_fault

Place = tuple[str, ...]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
ProperFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
"""Above 0 and below 1."""
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Wrong(ValueError):
    """A value that is not allowed: raised by validators, worded by `explain`."""

    def __init__(self, value: object, allowed: Sequence[str], what: str = "value", place: Sequence[object] = ()):
        self.place = tuple(str(part) for part in place)
        hint = nearest(value, allowed)
        super().__init__(
            f"{what} {str(value)!r} is not allowed. Allowed: {', '.join(allowed) or 'nothing here'}.{hint}"
        )

    @classmethod
    def first_of(cls, error: ValidationError, place: Sequence[object], model: type[BaseModel]) -> Wrong:
        """The first error of a nested model, placed below `place`."""
        detail = error.errors()[0]
        wrong = cls("", ())
        wrong.place = (*(str(part) for part in place), *_place(detail))
        wrong.args = (_message(detail, model),)
        return wrong


class Among:
    """Marks a field that takes the names of a registry, as they are when a value is checked: plugins add to them."""

    def __init__(self, names: Collection[str]):
        self.names = names

    def _check(self, value: str) -> str:
        if value not in self.names:
            raise Wrong(value, tuple(self.names))
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Text that is one of the names."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """An enumeration of the names."""
        return {**handler(schema), "enum": list(self.names)}


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: Any) -> Any:
        """YAML reads `yes` and `on` as true, which would pass for the number 1."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            for part in value if isinstance(value, list | tuple) else (value,):
                field = cls.model_fields.get(name)
                if field and isinstance(part, bool) and bool not in (field.annotation, *get_args(field.annotation)):
                    raise Wrong(part, ("a number, or a word in quotes",), "value", (name,))
        return values


def _place(detail: ErrorDetails) -> Place:
    wrong = detail.get("ctx", {}).get("error")
    inner = wrong.place if isinstance(wrong, Wrong) else ()
    return tuple(str(part) for part in detail["loc"]) + inner


def _model_at(model: Any, place: Sequence[str]) -> type[BaseModel] | None:
    """The model whose keys are at `place` below `model`."""
    for part in place:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation if part in model.model_fields else None
        else:  # dict[str, X]
            model = (typing.get_args(model) or (None,))[-1]
    if isinstance(model, types.UnionType):
        model = typing.get_args(model)[0]
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    value = detail["input"]
    wrong = detail.get("ctx", {}).get("error")
    if wrong is not None:
        text = str(wrong)
        if (fault := place_of_fault(wrong)) and not isinstance(wrong, Wrong):
            return f"{fault}: {type(wrong).__name__}: {text}"
        return text if isinstance(wrong, Wrong) else f"value {value!r} is not allowed: {text}."
    if detail["type"] == "extra_forbidden":
        owner = _model_at(model, _place(detail)[:-1])
        allowed = sorted(owner.model_fields) if owner else []
        key = _place(detail)[-1]
        return f"unknown key. Allowed: {', '.join(allowed)}.{nearest(key, allowed)}"
    if detail["type"] == "missing":
        return "this key is missing; add it."
    if detail["type"] == "literal_error":
        allowed = [w.strip(" '") for w in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"value {value!r} is not allowed. Allowed: {', '.join(allowed)}.{nearest(value, allowed)}"
    if detail["type"] in ("model_type", "dict_type"):
        return f"value {value!r} is not allowed: give keys, as in {{key: value}}."
    if detail["type"] == "tuple_type":
        return f"value {value!r} is not allowed: give a list, as in [a, b]."
    return f"value {value!r} is not allowed: {detail['msg'].lower()}."


def place_of(place: Place, places: Mapping[Place, str]) -> str:
    """`file:line: key` of a key, or the line of the nearest key above it."""
    known = next((places[place[:n]] for n in range(len(place), -1, -1) if place[:n] in places), "config")
    return f"{known}: {'.'.join(place) or 'the file'}"


def explain(error: ValidationError, model: type[BaseModel], places: Mapping[Place, str]) -> str:
    """All errors of a configuration, one per line."""
    lines = []
    found = [(_place(detail), detail) for detail in error.errors()]
    for place, detail in found:
        if any(len(other) > len(place) and other[: len(place)] == place for other, _ in found):
            continue  # a consequence: the list is too short once its wrong item is left out
        lines.append(f"{place_of(place, places)}: {_message(detail, model)}")
    return "\n".join(lines)


def read_yaml(file: Path) -> tuple[Any, dict[Place, str]]:
    """The value of a YAML file, and `file:line` of every key in it.

    Raises:
        CollabpipeError: the file is missing, no YAML, or names a key twice.
    """
    places: dict[Place, str] = {(): str(file)}
    try:
        text = file.read_text(encoding="utf-8")  # once: it may be a pipe
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _walk(node, (), file, places)
        return yaml.safe_load(text), places
    except OSError as error:
        raise CollabpipeError(f"{file}: cannot be read: {error.strerror}. Name a configuration that exists.") from error
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # Beyond its own errors PyYAML lets those of its constructors through: an impossible date, an alias of itself.
        raise CollabpipeError(f"{file}: no valid YAML: {error}. Correct it at the line that is named.") from error


def _walk(node: yaml.Node, place: Place, file: Path, places: dict[Place, str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            where = f"{file}:{key.start_mark.line + 1}"
            if inner in places:
                raise CollabpipeError(f"{where}: {'.'.join(inner)} is named twice. Remove one of the two.")
            places[inner] = where
            _walk(value, inner, file, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            places[(*place, str(index))] = f"{file}:{value.start_mark.line + 1}"
            _walk(value, (*place, str(index)), file, places)


def lasting(file: Path) -> Path:
    """`file`, which every job of Snakemake's reads again.

    Raises:
        CollabpipeError: it is a pipe or a device, which is empty the second time.
    """
    if file.exists() and (not file.is_file() or file.absolute().parts[1] in ("dev", "proc")):
        raise CollabpipeError(
            f"{file}: is no file on a disk, and every job reads the configuration again. Write it into a file first: "
            "COMMAND > study.yaml && snakemake --configfile study.yaml"
        )
    return file


def option_places(options: Mapping[str, Any], place: Place = ()) -> dict[Place, str]:
    """The keys that Snakemake's option --config gave, which no file holds."""
    places: dict[Place, str] = {}
    for key, value in options.items():
        places[*place, str(key)] = "option --config"
        if isinstance(value, Mapping):
            places |= option_places(value, (*place, str(key)))
    return places


def beside(path: str, place: Place, places: Mapping[Place, str]) -> str:
    """A path that a configuration names at `place`: relative to the file that names it, `~` expanded.

    Where no file does (an option, a module's configuration), to the working folder.
    """
    file, found, _ = places.get(place, "").rpartition(":")
    return str(Path(file).parent / expand_user(path)) if found else str(expand_user(path))


def merge_files(files: Sequence[Path]) -> tuple[dict[str, Any], dict[Place, str]]:
    """The merged mappings of several YAML files, later over earlier key by key, and where each key stands.

    Raises:
        CollabpipeError: a file is no mapping.
    """
    merged: dict[str, Any] = {}
    places: dict[Place, str] = {}
    for file in files:
        value, where = read_yaml(file)
        if not isinstance(value, dict):
            raise CollabpipeError(f"{file}: holds no keys. A study starts with 'study: NAME'.")
        _merge(merged, value)
        places.update(where)
    return merged, places


def _merge(into: dict[str, Any], value: Mapping[str, Any]) -> None:
    for key, inner in value.items():
        if isinstance(inner, dict) and isinstance(into.get(key), dict):
            _merge(into[key], inner)
        else:
            into[key] = inner
