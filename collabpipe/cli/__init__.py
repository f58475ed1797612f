"""The command line."""

from collabpipe.cli.main import main

__all__ = ["main"]
