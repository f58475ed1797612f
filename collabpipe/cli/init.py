"""Write a folder to start a study in: a configuration, the workflow, profiles."""

from __future__ import annotations

import shlex
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.shipped import HERE

PROFILES = ("default", "quiet", "slurm")
NEXT = """\
{folder}: a small study. README.md says what each file is. Next:

  cd {quoted}
  snakemake --cores all --dry-run     # what would be done
  snakemake --cores all               # one or two minutes
  collabpipe show                     # the main table

Then change config/config.yaml, and run the same commands."""


def arguments(parser: ArgumentParser) -> None:
    """Where the study goes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")


def run(arguments: Namespace) -> None:
    """Copy the study, and say how it goes on."""
    folder: Path = arguments.folder
    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise CollabpipeError(f"{folder} is not empty, and nothing in it was changed. Name a new folder.")
    shutil.copytree(HERE / "study", folder, dirs_exist_ok=True)
    for profile in PROFILES:
        shutil.copytree(HERE / "profiles" / profile, folder / "profiles" / profile)
    print(NEXT.format(folder=folder, quoted=shlex.quote(str(folder))))
