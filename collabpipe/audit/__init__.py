"""Proofs that results are what they claim to be, and their way to a DVC remote and back."""
