"""torchvision's own models, which two of the networks are built of."""

from __future__ import annotations

from types import ModuleType

import torch


def torchvision_models() -> ModuleType:
    """torchvision.models, also where torchvision's compiled operators are for another build of torch.

    PyPI's torchvision for Linux is built for CUDA; beside a CPU build of torch its operators do not load and the
    package stops at the two it declares itself. The models need none of them, so their names alone will do.
    """
    try:
        from torchvision import models
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision import models
    return models  # type: ignore[no-any-return]
