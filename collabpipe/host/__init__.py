"""What this machine lends: locks, writers, devices and signals."""
