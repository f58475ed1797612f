"""What every network is: a stem, stages by name and a classifier, so that a loss can tap or re-run the stages."""

from __future__ import annotations

from torch import Tensor, nn

from collabpipe.model.tensors import pool


class StagedNetwork(nn.Module):
    """stem → stages → mean over positions → classifier.

    Args:
        stem: (B, C, H, W) to features.
        stages: the stages in order, by name; at least two.
        features: channels of the last stage.
        classes: K.
    """

    def __init__(self, stem: nn.Module, stages: dict[str, nn.Module], features: int, classes: int):
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleDict(stages)
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, H, W)."""
        features = self.stem(images)
        for stage in self.stages.values():
            features = stage(features)
        logits: Tensor = self.classifier(pool(features))
        return logits


class Stage(nn.Sequential):
    """Layers one after another.

    Its code is written here, not in torch: torch.compile takes it as one piece, and torch's own layer by layer.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the last layer's output."""
        for layer in self:
            features = layer(features)
        return features
