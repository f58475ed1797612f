"""The page of a study: one file that opens offline, made from tables, figures and the records of runs."""
