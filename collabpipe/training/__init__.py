"""The engine: batches, optimiser, the loop, and states from which a killed run continues to the same weights."""
