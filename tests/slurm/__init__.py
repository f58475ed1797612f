"""Tests on a real SLURM, which one machine can be made to run: `make test-slurm`, `make test-slurm-all`."""
