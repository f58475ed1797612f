"""The networks: shapes, stages, sizes, initial weights, and equality with torchvision's."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.common.errors import CollabpipeError
from collabpipe.model.networks import BUILDERS, StagedNetwork, build_network, initialise
from collabpipe.model.networks.preactivation import PreActivationBlock
from collabpipe.model.networks.residual import BasicBlock, PaddedShortcut, shortcut
from collabpipe.model.networks.torchvision_models import torchvision_models
from collabpipe.settings.training import NetworkSettings

# Networks this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

KINDS = tuple(BUILDERS)
WIDTHS = {kind: 8 if kind in ("resnet18", "vgg16") else 4 for kind in KINDS}
CLASSES = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(kind: str, channels: int = 1) -> StagedNetwork:
    return build_network(NetworkSettings(kind=kind, width=WIDTHS[kind]), channels, CLASSES)


def images(channels: int = 1, size: int = 8, count: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size, generator=generator(9))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_every_image_size_and_channel_count_gives_logits(kind: str, channels: int, size: int) -> None:
    network = small(kind, channels)
    initialise(network, generator())
    logits = network(images(channels, size))
    assert logits.shape == (3, CLASSES)
    assert logits.isfinite().all()
    # The images differ, so no pool or stage has thrown all of them away.
    assert logits.std(0).min() > 1e-4


# Width 8 doubles with every stage (VGG stops at 8 times the first): channels and side of a 28-pixel image.
MAPS: dict[str, list[tuple[int, int]]] = {
    "resnet8": [(4, 28), (8, 14), (16, 7)],
    "resnet18": [(8, 28), (16, 14), (32, 7), (64, 4)],
    # Each pool rounds up: 28, 14, 7, 4, 2, 1.
    "vgg16": [(8, 14), (16, 7), (32, 4), (64, 2), (64, 1)],
    "preact_resnet18": [(4, 28), (8, 14), (16, 7), (32, 4)],
    "resnet32": [(4, 28), (8, 14), (16, 7)],
    "resnet110": [(4, 28), (8, 14), (16, 7)],
    # Twelve layers of 4 channels a block, behind a stem of 16.
    "densenet40": [(64, 28), (112, 14), (160, 7)],
    "wide_resnet28": [(4, 28), (8, 14), (16, 7)],
}


def test_every_network_is_known_to_planning_and_tried_here() -> None:
    assert tuple(BUILDERS) == tuple(LAYOUTS) == tuple(MAPS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "width"), [(8, 4), (14, 8), (27, 12), (96, None)])
def test_planning_knows_the_channels_and_the_maps_of_every_stage(kind: str, size: int, width: int | None) -> None:
    settings = NetworkSettings(kind=kind, width=width)
    with torch.device("meta"):
        network = build_network(settings, 3, CLASSES)
        features = network.stem(torch.empty(2, 3, size, size))
        shapes = [tuple((features := stage(features)).shape[1:]) for stage in network.stages.values()]

    stages = settings.stages_of(size, 2)

    assert stages.names == tuple(network.stages)
    assert [(c, p) for c, p in zip(stages.channels, stages.positions, strict=True)] == [
        (c, h * w) for c, h, w in shapes
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_stages_follow_one_another_as_the_settings_name_them(kind: str) -> None:
    network = small(kind)
    initialise(network, generator())
    assert tuple(network.stages) == NetworkSettings(kind=kind).stages
    features = network.stem(images(size=28))
    for stage, (channels, side) in zip(network.stages.values(), MAPS[kind], strict=True):
        features = stage(features)
        assert features.shape == (3, channels, side, side)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_classifiers_view_of_the_mean_over_positions(kind: str) -> None:
    network = small(kind).eval()
    initialise(network, generator())
    # Without training's normalisation the features of a deep network grow large, and float32 rounds their sums.
    network.double()
    batch = images(size=28).double()
    features = network.stem(batch)
    for stage in network.stages.values():
        features = stage(features)
    _, channels, height, width = features.shape
    mean = sum(features[:, :, i, j] for i in range(height) for j in range(width)) / (height * width)
    assert mean.shape == (3, channels)
    expected = mean @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(batch), expected)


# Convolutions 3×3 without bias, two numbers a channel of batch normalisation, one Linear with bias.
RESNET8 = (
    (9 * 1 * 16 + 2 * 16)
    + (2 * 9 * 16 * 16 + 4 * 16)
    + (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32 + 6 * 32)
    + (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64 + 6 * 64)
    + (64 * 10 + 10)
)
# VGG-16's thirteen convolutions have a bias each beside batch normalisation: three numbers a channel.
VGG16_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG16 = sum(9 * i * o + 3 * o for i, o in pairwise(VGG16_CHANNELS)) + 512 * 10 + 10


# ResNet-18's blocks, each normalisation before its convolution: a block of c to d channels normalises c and d channels
# in place of d and d, and its 1×1 shortcut has no normalisation of its own. Stem and classifier are ResNet-18's.
PREACT_RESNET18 = 11_173_962 - 2 * sum(d - c for c, d in pairwise((64, 128, 256, 512))) - 2 * (128 + 256 + 512)


def cifar_resnet(blocks: int) -> int:
    """6·blocks + 1 convolutions 3×3 with normalisation and a Linear; shortcuts without parameters."""
    widths = [16] * 2 * blocks + [32] * 2 * blocks + [64] * 2 * blocks
    return sum(9 * i * o + 2 * o for i, o in pairwise([3, 16, *widths])) + 64 * 10 + 10


def full_size(kind: str, channels: int, classes: int = 10) -> int:
    """The parameters of a network at its own width; nothing is stored."""
    with torch.device("meta"):
        return parameters(build_network(NetworkSettings(kind=kind), channels, classes))


@pytest.mark.parametrize(
    ("kind", "channels", "expected"),
    [
        ("resnet8", 1, RESNET8),
        # The figure that the field quotes for ResNet-18 on CIFAR-10.
        ("resnet18", 3, 11_173_962),
        # The same with a stem of one input channel.
        ("resnet18", 1, 11_173_962 - 2 * 9 * 64),
        ("vgg16", 3, VGG16),
        ("vgg16", 1, VGG16 - 2 * 9 * 64),
        ("preact_resnet18", 3, PREACT_RESNET18),
        ("resnet32", 3, cifar_resnet(5)),
        ("resnet110", 3, cifar_resnet(18)),
        ("densenet40", 3, 1_019_722),
        ("wide_resnet28", 3, 36_479_194),
    ],
)
def test_parameters_at_full_width(kind: str, channels: int, expected: int) -> None:
    assert full_size(kind, channels) == expected


@pytest.mark.parametrize(
    ("kind", "classes", "millions"),
    [
        # He et al. (2016), table 6.
        ("resnet32", 10, "0.46"),
        ("resnet110", 10, "1.7"),
        # Huang et al. (2017), table 2: k=12, L=40, without bottlenecks and compression.
        ("densenet40", 10, "1.0"),
        # Zagoruyko and Komodakis (2016), table 4: WRN-28-10.
        ("wide_resnet28", 10, "36.5"),
        ("wide_resnet28", 100, "36.5"),
    ],
)
def test_parameters_are_as_many_as_the_papers_print(kind: str, classes: int, millions: str) -> None:
    digits = len(millions.partition(".")[2])
    assert f"{full_size(kind, 3, classes) / 1e6:.{digits}f}" == millions


def test_wide_resnet28_for_100_classes_has_the_figure_of_its_reimplementations() -> None:
    # As for 10 classes, osmr/imgclsmob (wrn28_10_cifar100).
    assert full_size("wide_resnet28", 3, 100) == 36_536_884


def test_vgg16_has_the_features_of_torchvision_and_one_linear_layer() -> None:
    # 14,723,136 is torchvision's vgg16_bn without its classifier of three layers.
    assert VGG16 == 14_723_136 + 5_130


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_are_a_function_of_the_generator_alone(kind: str) -> None:
    torch.manual_seed(1)
    first = small(kind)
    initialise(first, generator(7))
    torch.manual_seed(2)
    second = small(kind)
    # What was in the network before does not matter either.
    for parameter in second.parameters():
        nn.init.normal_(parameter)
    before = torch.get_rng_state()
    initialise(second, generator(7))
    assert torch.get_rng_state().equal(before)
    assert first.state_dict().keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_draws_every_weight_anew(kind: str) -> None:
    first, second = small(kind), small(kind)
    initialise(first, generator(7))
    initialise(second, generator(8))
    fixed = {
        f"{name}.{part}"
        for name, module in first.named_modules()
        for part, _ in module.named_parameters(recurse=False)
        if isinstance(module, nn.BatchNorm2d) or (isinstance(module, nn.Conv2d) and part == "bias")
    }
    others = dict(second.named_parameters())
    equal = {name for name, value in first.named_parameters() if value.equal(others[name])}
    assert equal == fixed


def test_initial_weights_have_their_published_scale() -> None:
    network = build_network(NetworkSettings(kind="resnet8", width=32), 3, 10)
    initialise(network, generator())
    block = network.stages["stage3"]
    assert isinstance(block, BasicBlock)
    # He et al.: variance 2 over the fan-out, 9·128 here; 147,456 draws settle the deviation to a few thousandths.
    assert block.conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.01)
    assert block.conv1.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.01)
    assert abs(block.conv2.weight.mean().item()) < 1e-3
    bound = 1 / math.sqrt(128)
    for parameter in network.classifier.parameters():
        assert parameter.abs().max() <= bound
    assert network.classifier.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert block.bn1.weight.eq(1.0).all()
    assert block.bn1.bias.eq(0.0).all()


def test_vgg16_starts_without_convolution_biases() -> None:
    network = small("vgg16")
    initialise(network, generator())
    biases = [part.bias for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert len(biases) == 13
    assert all(bias is not None and bias.eq(0.0).all() for bias in biases)


@pytest.mark.parametrize(("channels_in", "channels_out", "stride"), [(4, 4, 1), (4, 8, 2), (4, 8, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_basic_block_is_torchvisions_with_the_same_weights(
    channels_in: int, channels_out: int, stride: int, training: bool
) -> None:
    ours = BasicBlock(channels_in, channels_out, stride)
    # Through the package's own import, which gets past torchvision's compiled operators where they do not load.
    theirs = torchvision_models().resnet.BasicBlock(
        channels_in, channels_out, stride, shortcut(channels_in, channels_out, stride)
    )
    initialise(ours, generator())
    for part in ours.modules():
        # Away from 1 and 0, so that a forgotten normalisation shows.
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator(1))
            nn.init.uniform_(part.bias, -0.5, 0.5, generator=generator(2))
    theirs.load_state_dict(ours.state_dict())
    results: list[dict[str, Tensor]] = []
    for block in (ours, theirs):
        block.train(training)
        batch = images(channels_in, 6).requires_grad_()
        output = block(batch)
        output.square().sum().backward()
        assert batch.grad is not None
        found = {"output": output, "images": batch.grad, **block.state_dict()}
        results.append(found | {f"gradient of {n}": p.grad for n, p in block.named_parameters()})
    torch.testing.assert_close(results[0], results[1])


def test_resnet18_is_torchvisions_behind_the_stem() -> None:
    # torchvision's has one width, 64.
    ours = build_network(NetworkSettings(kind="resnet18"), 3, CLASSES)
    initialise(ours, generator())
    theirs = torchvision_models().resnet18(num_classes=CLASSES)
    theirs.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    theirs.maxpool = nn.Identity()
    renamed = {}
    for name, value in ours.state_dict().items():
        for old, new in (("stem.0", "conv1"), ("stem.1", "bn1"), ("stages.stage", "layer"), ("classifier", "fc")):
            name = name.replace(old, new)
        renamed[name] = value
    theirs.load_state_dict(renamed)
    batch = images(3)
    torch.testing.assert_close(ours.eval()(batch), theirs.eval()(batch))


@pytest.mark.parametrize("size", [32, 64])
def test_vgg16_has_torchvisions_features_where_no_pool_needs_to_round(size: int) -> None:
    layers = torchvision_models().vgg
    plan = [c if c == "M" else c // 8 for c in layers.cfgs["D"]]
    theirs = layers.make_layers(plan, batch_norm=True)
    ours = small("vgg16", 3)
    initialise(ours, generator())
    # Ours keep torchvision's numbers behind the stage's name.
    features = {n.split(".", 2)[2]: v for n, v in ours.state_dict().items() if n.startswith("stages.")}
    theirs.load_state_dict(features)
    batch = images(3, size)
    expected = ours.classifier(theirs.eval()(batch).mean((2, 3)))
    torch.testing.assert_close(ours.eval()(batch), expected)


def test_a_padded_shortcut_takes_every_second_position_and_puts_zeros_around_the_channels() -> None:
    batch = images(4, 5)
    padded = PaddedShortcut(4, 8, 2)(batch)
    assert padded.shape == (3, 8, 3, 3)
    assert padded[:, 2:6].equal(batch[:, :, ::2, ::2])
    assert padded[:, :2].eq(0.0).all()
    assert padded[:, 6:].eq(0.0).all()
    assert not list(PaddedShortcut(4, 8, 2).parameters())


@pytest.mark.parametrize("activated", [False, True])
def test_a_block_without_convolutions_is_its_shortcut(activated: bool) -> None:
    block = PreActivationBlock(4, 4, 1, activated)
    nn.init.zeros_(block.conv2.weight)
    batch = images(4)
    # DivideMix's blocks add what the first ReLU has let through, those of the wide networks what came in.
    expected = block.bn1(batch).relu() if activated else batch
    torch.testing.assert_close(block(batch), expected)


def test_what_a_dense_layer_is_given_is_kept_before_what_it_adds() -> None:
    stage = small("densenet40", 3).stages["stage1"]
    before = images(16)
    after = stage(before)
    assert after.shape == (3, 16 + 12 * 4, 8, 8)
    assert after[:, :16].equal(before)


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))


@pytest.mark.parametrize(
    "part",
    [
        nn.Conv1d(2, 3, 3),
        nn.Conv3d(2, 3, 3, bias=False),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4, affine=False),
        nn.BatchNorm1d(4),
        nn.Embedding(5, 3, padding_idx=1),
        nn.Linear(3, 2, bias=False),
    ],
    ids=lambda part: type(part).__name__,
)
def test_every_known_layer_is_drawn_from_the_given_generator_alone(part: nn.Module) -> None:
    found = []
    for seed, outside in ((7, 1), (7, 2), (8, 1)):
        torch.manual_seed(outside)
        for values in part.parameters():
            nn.init.normal_(values)
        before = torch.get_rng_state()
        initialise(nn.Sequential(part), generator(seed))
        assert torch.get_rng_state().equal(before)
        found.append([values.detach().clone() for values in part.parameters()])
    assert all(a.equal(b) for a, b in zip(found[0], found[1], strict=True))
    drawn = isinstance(part, nn.Conv1d | nn.Conv3d | nn.Embedding | nn.Linear)
    assert drawn != all(a.equal(b) for a, b in zip(found[0], found[2], strict=True))
    if isinstance(part, nn.Embedding):
        assert part.weight[1].eq(0.0).all(), "the padding stays without meaning"


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (Bare(), ("inner.1 (Bare)", "scale", "networks.initialise")),
        (nn.PReLU(), ("inner.1 (PReLU)", "weight", "Conv2d")),
        (nn.LSTM(2, 2), ("inner.1 (LSTM)", "weight_ih_l0")),
        (nn.Dropout2d(), ("inner.1 (Dropout2d)", "global generator", "channel_drop")),
        (nn.RReLU(), ("inner.1 (RReLU)", "global generator")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_draws_from_elsewhere_is_refused_by_name(part: nn.Module, told: tuple[str, ...]) -> None:
    network = nn.ModuleDict({"inner": nn.Sequential(nn.Conv2d(1, 2, 3), part)})
    with pytest.raises(CollabpipeError) as error:
        initialise(network, generator())
    for words in told:
        assert words in str(error.value)
