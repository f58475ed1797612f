"""A configuration, checked."""
