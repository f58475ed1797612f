"""The JSON schema of a configuration, generated from the settings models, for editors and for readers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from collabpipe.kinds import KINDS, Control
from collabpipe.settings import NOISE_KINDS, RATE, Settings


def settings_schema() -> dict[str, Any]:
    """The schema; methods and noise are written as a configuration writes them."""
    kinds: list[type[BaseModel]] = [*KINDS.values(), Control]
    everything: list[type[BaseModel]] = [Settings, *kinds]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in everything]
    references, schema = models_json_schema(models, title="A study of collabpipe")
    settings = schema["$defs"].pop("Settings")
    settings["properties"]["methods"]["additionalProperties"] = {
        "anyOf": [references[(kind, "validation")] for kind in kinds]
    }
    noisy = "|".join(kind for kind in NOISE_KINDS if kind != "none")
    settings["properties"]["noise"] = {
        "type": "array",
        "items": {"type": "string", "pattern": f"^(none$|({noisy})-{RATE.pattern}$)"},
    }
    # A network or data set named after its kind or source need not repeat it.
    for model, key in (("NetworkSettings", "kind"), ("DatasetSettings", "source")):
        schema["$defs"][model]["required"] = [
            name for name in schema["$defs"][model].get("required", []) if name != key
        ]
    return {**settings, "$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": schema["$defs"]}
