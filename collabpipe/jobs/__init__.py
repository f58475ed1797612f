"""The work of the rules: one module per command that a job runs."""
