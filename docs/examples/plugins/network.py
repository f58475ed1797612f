"""A network: three convolutions of stride 1, 2 and 2, each a stage, without shortcuts."""

from collabpipe import plugin


@plugin.network("plain", plugin.Layout(width=8, channels=(1, 2, 4), strides=(1, 2, 2)))
def plain(width, channels, classes):
    """The network for images of so many channels; PyTorch is imported here, as planning does without it."""
    from torch import nn

    from collabpipe.model.networks import Stage, StagedNetwork

    def stage(channels_in, channels_out, stride):
        convolution = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        return Stage(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())

    stages = {
        "stage1": stage(width, width, 1),
        "stage2": stage(width, 2 * width, 2),
        "stage3": stage(2 * width, 4 * width, 2),
    }
    return StagedNetwork(stage(channels, width, 1), stages, 4 * width, classes)
