"""Measurements that tests do not make: speed and memory, run by hand."""
