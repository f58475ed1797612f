"""``python -m collabpipe`` is the same as the ``collabpipe`` command."""

from collabpipe.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
