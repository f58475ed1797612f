"""Methods as a configuration names them, and the composition that each asks of a training step; without torch."""
