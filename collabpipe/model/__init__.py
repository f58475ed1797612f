"""Networks, passes and losses: the tensors of a training step."""
