"""Methods as a configuration names them, and the composition that describes its training step; without torch."""
