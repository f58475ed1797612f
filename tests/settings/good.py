"""A configuration without a mistake, and the same with one change."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
study: small
datasets:
  digits:
    validation_size: 50
noise: [none, symmetric-0.5]
networks:
  resnet8:
    width: 4
methods:
  baseline: {}
  output: {heads: 2, split: stage2}
  output_control: {control_of: output}
seeds: [0, 1]
training:
  epochs: 2
"""

KINDS = ("baseline", "dropout", "output", "intermediate", "representation", "kernel", "combined", "multi_head")


def changed(path: Path, old: str, new: str) -> Path:
    """The good configuration with one change, written to `path`."""
    assert GOOD.count(old) >= 1, "the test's own replacement must hit"
    path.write_text(GOOD.replace(old, new, 1))
    return path
