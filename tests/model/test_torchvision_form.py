"""Networks as torchvision builds them: the written lines run, take the weights, and compute the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from collabpipe.model.networks import build_network, initialise
from collabpipe.model.networks.torchvision_models import torchvision_models
from collabpipe.model.torchvision_form import TorchvisionForm, torchvision_form
from collabpipe.settings.training import NetworkSettings


def built(form: TorchvisionForm) -> nn.Module:
    """The network that the lines of a form build."""
    torchvision_models()  # whichever build of torchvision is installed
    names: dict[str, Any] = {"nn": nn}
    exec("\n".join([form.imports, *form.lines]), names)  # noqa: S102
    network: nn.Module = names["network"]
    return network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("kind", ["resnet8", "resnet18", "vgg16"])
def test_torchvisions_network_takes_the_weights_and_gives_the_same_logits(kind: Any, width: Any, channels: int) -> None:
    settings = NetworkSettings(kind=kind, width=width)
    ours = build_network(settings, channels, 7)
    generator = torch.Generator().manual_seed(0)
    initialise(ours, generator)
    for part in ours.modules():  # statistics of its own, as after a training
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    form = torchvision_form(settings, channels, 7)
    assert form is not None
    theirs = built(form)

    theirs.load_state_dict(form.weights(ours.state_dict()), strict=True)

    images = torch.randn(5, channels, 14, 14, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(images), ours.eval()(images))


@pytest.mark.parametrize(("channels", "text"), [(1, "1 channel, not 3"), (4, "4 channels, not 3")])
@pytest.mark.parametrize("kind", ["resnet18", "vgg16"])
def test_other_numbers_of_channels_are_named_among_the_differences(kind: Any, channels: int, text: str) -> None:
    form = torchvision_form(NetworkSettings(kind=kind), channels, 7)
    assert form is not None
    assert f"the images have {text}" in form.differs


def test_weights_have_the_names_of_torchvisions_own_networks() -> None:
    models = torchvision_models()
    for kind, own in (("resnet18", models.resnet18()), ("vgg16", models.vgg16_bn())):
        settings = NetworkSettings.model_validate({"kind": kind})
        form = torchvision_form(settings, 3, 1000)
        assert form is not None
        names = set(form.weights(build_network(settings, 3, 1000).state_dict()))
        expected = {name.replace("classifier.0.", "classifier.") for name in own.state_dict()}
        assert names == {name for name in expected if not name.startswith(("classifier.3", "classifier.6"))}


def test_the_differences_from_torchvisions_network_are_named() -> None:
    form = torchvision_form(NetworkSettings(kind="resnet18"), 3, 10)
    assert form is not None
    assert form.differs == ("`conv1` is a 3×3 convolution of stride 1, not 7×7 of stride 2", "there is no max-pool")
    assert len(form.lines) == 3
