"""A reproduction of Intra-Model Collaborative Learning of Neural Networks (Fang and Lin, 2021)."""

__version__ = "0.1.0"
