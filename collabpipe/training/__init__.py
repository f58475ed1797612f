"""Training on a device: the engine, its batches, its measures and what it saves."""
