"""The other side: ResNet-18 on small images as common CIFAR repositories train it, for example kuangliu/pytorch-cifar.

float32, channels first, torchvision's transforms on single images in a DataLoader, torch.optim.SGD, and the loss read
back at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from collabpipe.data.prepared import Images
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.networks.torchvision_models import torchvision_models

torchvision_models()
from torchvision import transforms  # noqa: E402


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: an array, made into a picture when it is asked for."""

    def __init__(self, data: Images, crop: int):
        array = data.images.transpose(0, 2, 3, 1)
        self.images = np.ascontiguousarray(array if array.shape[-1] == 3 else array[..., 0])
        self.labels = data.labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(self.images.shape[1], padding=crop),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.transform(self.images[position]), int(self.labels[position])


def batches(data: Images, crop: int, batch_size: int, workers: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after another, the workers kept in between."""
    keep: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": device == "cuda"}
    loader = DataLoader(Pictures(data, crop), batch_size, shuffle=True, **keep)
    while True:
        yield from loader


class PlainLoop:
    """The loop, a step at a time.

    Args:
        network: the network; it is laid out with channels first.
        source: where batches come from.
        steps: of the whole training, over which the rate falls as half a cosine; it is set epoch by epoch.
        epoch: steps of an epoch.
    """

    def __init__(
        self, network: StagedNetwork, source: Iterator[tuple[Tensor, Tensor]], steps: int, epoch: int, device: str
    ):
        self.network = network.to(device).to(memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]
        self.source, self.epoch, self.device, self.done = source, epoch, device, 0
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=-(-steps // epoch))
        self.loss = self.right = 0.0

    def step(self) -> None:
        """One step, with the running loss and accuracy that such loops print."""
        images, labels = (part.to(self.device) for part in next(self.source))
        self.optimiser.zero_grad()
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.optimiser.step()
        self.loss += loss.item()
        self.right += logits.argmax(1).eq(labels).sum().item()
        self.done += 1
        if self.done % self.epoch == 0:
            self.schedule.step()


def evaluate(network: nn.Module, data: Images) -> float:
    """Accuracy on `data` in float32, on the CPU."""
    mean, std = (torch.tensor(part)[:, None, None] for part in (data.mean, data.std))
    right = 0
    with torch.no_grad():
        for start in range(0, len(data.labels), 1000):
            images = torch.from_numpy(data.images[start : start + 1000].copy()).float() / 255.0
            logits = network.eval()((images - mean) / std)
            right += int((logits.argmax(1).numpy() == data.labels[start : start + 1000]).sum())
    return right / len(data.labels)
