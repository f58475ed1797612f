"""Data sets and labels: fetching, formats, the prepared form, label files and noise."""
