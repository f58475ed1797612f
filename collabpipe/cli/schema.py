"""Print the JSON schema of a configuration."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.common.files import write_json
from collabpipe.settings.schema import settings_schema


def arguments(parser: ArgumentParser) -> None:
    """Where the schema goes."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")


def run(arguments: Namespace) -> None:
    """Print or write the schema."""
    if arguments.out is None:
        print(json.dumps(settings_schema(), indent=2, sort_keys=True))
    else:
        write_json(arguments.out, settings_schema())
