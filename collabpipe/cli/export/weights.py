"""Write a run's weights for plain PyTorch, with a script that measures their test accuracy without this package."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import add_best


def arguments(parser: ArgumentParser) -> None:
    """The run, the folder and the form."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the weights")
    parser.add_argument(
        "--format",
        choices=("torchvision", "torchscript"),
        help="torchvision: a state dict for torchvision's network (the default where it has one); torchscript: one "
        "file with network and weights",
    )
    add_best(parser)


def run(arguments: Namespace) -> None:
    """Write the folder and say what is in it."""
    from collabpipe.jobs.export_weights import export_weights
    from collabpipe.results.finished import FinishedRun

    written = export_weights(FinishedRun.of(arguments.run_folder), arguments.out, arguments.format, best=arguments.best)
    print(f"{arguments.out}: {', '.join(written)}. README.md says how to load the weights.")
