"""Lets ``python -m collabpipe`` stand in for the ``collabpipe`` command."""

from collabpipe.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
