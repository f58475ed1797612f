"""From evaluated runs to tables, figures and verdicts."""
