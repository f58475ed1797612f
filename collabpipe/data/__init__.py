"""Data sets: where they come from, their formats, and the prepared form that training opens."""
