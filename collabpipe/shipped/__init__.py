"""What lies beside the package in its repository, linked here so that a wheel holds it; and a study to start from."""

from pathlib import Path

HERE = Path(__file__).parent
SNAKEFILE = str(HERE / "Snakefile")
"""The workflow, for `include` or `module` in a Snakefile."""
