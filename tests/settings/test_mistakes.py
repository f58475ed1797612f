"""Mistakes in a configuration: each ends in one message that says where it is, what it is and what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.settings.study import load_settings
from tests.settings.good import GOOD, KINDS, changed

COLLABPIPE = Path(sys.executable).parent / "collabpipe"


class Mistake(NamedTuple):
    """A good configuration with `old` replaced by `new`, and the message it must end in."""

    old: str
    new: str
    at: str
    """The text whose line the message names; empty: the file alone."""
    key: str
    says: tuple[str, ...]


METHOD = "  baseline: {}\n"
MISTAKES = {
    "unknown key at the top": Mistake(
        "training:\n", "trainig: {}\ntraining:\n", "trainig", "trainig", ("unknown key", "seeds", "'training'?")
    ),
    "unknown key in a method": Mistake(
        "heads: 2", "heads: 2, wieght: 3", "output: {", "methods.output.wieght", ("ramp", "views", "'weight'?")
    ),
    "a rival with several passes": Mistake(
        "training:\n", "rival: [baseline, output]\ntraining:\n", "rival", "rival.1", ("'output'", "Allowed: baseline.")
    ),
    "a rival that the study lacks": Mistake(
        "training:\n", "rival: {method: baselin}\ntraining:\n", "rival", "rival.0", ("'baselin'", "'baseline'?")
    ),
    "an unknown epoch of a rival": Mistake(
        "training:\n",
        "rival: {method: baseline, epoch: lst}\ntraining:\n",
        "rival",
        "rival.0.epoch",
        ("'lst'", "'last'?"),
    ),
    "unknown key in a data set": Mistake(
        "    validation_size: 50\n",
        "    validation_size: 50\n    imagesize: 8\n",
        "imagesize",
        "datasets.digits.imagesize",
        ("unknown key", "crop", "train_size", "'image_size'?"),
    ),
    "unknown key in training": Mistake(
        "epochs: 2\n", "epochs: 2\n  epoch: 3\n", "epoch: 3", "training.epoch", ("schedule", "'epochs'?")
    ),
    "unknown key in a network": Mistake(
        "width: 4", "widht: 4", "widht", "networks.resnet8.widht", ("unknown key", "kind", "'width'?")
    ),
    "unknown key beside control_of": Mistake(
        "{control_of: output}",
        "{control_of: output, heads: 2}",
        "output_control",
        "methods.output_control.heads",
        ("unknown key", "control_of"),
    ),
    "unknown method kind": Mistake(
        METHOD, "  plain: {kind: baselin}\n", "plain", "methods.plain.kind", ("'baselin'", *KINDS, "'baseline'?")
    ),
    "unknown method kind by its name": Mistake(
        METHOD, "  baselin: {}\n", "baselin", "methods.baselin.kind", ("'baselin'", *KINDS, "'baseline'?")
    ),
    "a method kind that is a list": Mistake(
        METHOD, "  plain: {kind: [baseline]}\n", "plain", "methods.plain.kind", ("baseline", "output")
    ),
    "unknown network": Mistake(
        "  resnet8:\n",
        "  resnt8:\n",
        "resnt8",
        "networks.resnt8.kind",
        ("'resnt8'", "resnet8, resnet18, vgg16", "'resnet8'?"),
    ),
    "unknown network kind": Mistake(
        "width: 4", "kind: vgg61", "vgg61", "networks.resnet8.kind", ("'vgg61'", "resnet8, resnet18, vgg16", "'vgg16'?")
    ),
    "unknown data set source": Mistake(
        "validation_size: 50",
        "{source: fashon_mnist, validation_size: 50}",
        "fashon_mnist",
        "datasets.digits.source",
        ("'fashon_mnist'", "digits, fashion_mnist", "'fashion_mnist'?"),
    ),
    "unknown noise kind": Mistake(
        "symmetric-0.5", "symetric-0.5", "noise:", "noise", ("'symetric", "symmetric_inclusive, pair", "'symmetric'?")
    ),
    "unknown noise kind in a list of lines": Mistake(
        "noise: [none, symmetric-0.5]",
        "noise:\n  - none\n  - symetric-0.5",
        "symetric-0.5",
        "noise",
        ("'symetric", "symmetric_inclusive, pair", "'symmetric'?"),
    ),
    **{
        f"noise {noise}": Mistake(
            "symmetric-0.5", noise, "noise:", "noise", (f"'{noise}'", f"{noise.split('-')[0]}-RATE", "[0, 1)", "-0.5")
        )
        for noise in ("symmetric-1.0", "symmetric--0.1", "symmetric-x", "symmetric", "pair-nan", "pair-0.5-0.5")
    },
    "noise none with a rate": Mistake(
        "none,", "none-0.1,", "noise:", "noise", ("'none-0.1'", "Allowed: none", "'none'?")
    ),
    "a kind of noise twice": Mistake("[none, ", "[none, none, ", "noise:", "noise", ("none",)),
    "noise that is a word": Mistake(
        "[none, symmetric-0.5]", "symmetric-0.5", "noise:", "noise", ("'symmetric-0.5'", "[none, symmetric-0.5]")
    ),
    **{
        f"missing {key}": Mistake(line, "", "", key, ("missing",))
        for key, line in {
            "study": "study: small\n",
            "noise": "noise: [none, symmetric-0.5]\n",
            "seeds": "seeds: [0, 1]\n",
            "training": "training:\n  epochs: 2\n",
        }.items()
    },
    "missing validation_size": Mistake(
        "validation_size: 50", "crop: 1", "digits", "datasets.digits.validation_size", ("missing",)
    ),
    "missing epochs": Mistake("epochs: 2", "batch_size: 4", "training", "training.epochs", ("missing",)),
    "a word for a number": Mistake("epochs: 2", "epochs: many", "epochs", "training.epochs", ("'many'", "integer")),
    "a fraction for a count": Mistake("epochs: 2", "epochs: 1.5", "epochs", "training.epochs", ("1.5", "integer")),
    "yes for a count": Mistake("epochs: 2", "epochs: yes", "epochs", "training.epochs", ("True", "a number")),
    "zero epochs": Mistake("epochs: 2", "epochs: 0", "epochs", "training.epochs", ("0", "greater than or equal to 1")),
    "a weight that is no number": Mistake(
        "heads: 2", "weight: .nan", "output: {", "methods.output.weight", ("nan", "finite")
    ),
    "a negative weight": Mistake(
        "heads: 2", "weight: -1", "output: {", "methods.output.weight", ("-1", "greater than or equal to 0")
    ),
    "a dropout rate of one": Mistake(
        "heads: 2", "drop: 1.0", "output: {", "methods.output.drop", ("1.0", "less than 1")
    ),
    "a list for a mapping": Mistake(
        "  digits:\n    validation_size: 50\n", "  [digits]\n", "datasets", "datasets", ("['digits']", "give keys")
    ),
    "nothing for a method": Mistake(
        METHOD, "  baseline:\n", "baseline", "methods.baseline", ("None", "{kind: baseline}")
    ),
    "a number for the study": Mistake("study: small", "study: 3", "study", "study", ("3", "string")),
    "a seed twice": Mistake("[0, 1]", "[0, 1, 0]", "seeds", "seeds", ("[0, 1, 0]", "twice")),
    "a negative seed": Mistake("[0, 1]", "[0, -1]", "seeds", "seeds.1", ("-1", "greater than or equal to 0")),
    "a negative seed alone": Mistake("[0, 1]", "[-1]", "seeds", "seeds.0", ("-1", "greater than or equal to 0")),
    "a word for the seeds": Mistake("[0, 1]", "all", "seeds", "seeds", ("'all'",)),
    "no seeds": Mistake("[0, 1]", "[]", "seeds", "seeds", ("[]", "at least 1")),
    "no noise": Mistake("[none, symmetric-0.5]", "[]", "noise:", "noise", ("at least one",)),
    "no methods": Mistake(
        GOOD[GOOD.index("methods:") : GOOD.index("seeds:")], "methods: {}\n", "methods", "methods", ("at least one",)
    ),
    "a split the network does not have": Mistake(
        "split: stage2",
        "split: stage4",
        "output: {",
        "methods.output.split",
        ("'stage4'", "resnet8", "input, stage1, stage2, stage3, classifier", "'stage3'?"),
    ),
    "a tap the network does not have": Mistake(
        METHOD,
        "  representation: {taps: [stage1, stage4]}\n",
        "taps",
        "methods.representation.taps",
        ("'stage4'", "resnet8", "stage1, stage2, stage3", "'stage3'?"),
    ),
    "no taps": Mistake(
        METHOD, "  representation: {taps: []}\n", "taps", "methods.representation.taps", ("stage1, stage2, stage3",)
    ),
    "no taps for partition": Mistake(
        METHOD,
        "  intermediate: {variant: partition, taps: []}\n",
        "taps",
        "methods.intermediate.taps",
        ("stage1, stage2, stage3",),
    ),
    "a tap upstream of the split": Mistake(
        METHOD,
        "  intermediate: {variant: virtual, heads: 2, split: stage3, taps: [stage2]}\n",
        "taps",
        "methods.intermediate.taps",
        ("'stage2'", "Allowed: stage3"),
    ),
    "a split behind all stages": Mistake(
        METHOD,
        "  intermediate: {variant: virtual, heads: 2, split: classifier}\n",
        "intermediate",
        "methods.intermediate.taps",
        ("no stage runs more than once",),
    ),
    "the control of nothing": Mistake(
        "control_of: output",
        "control_of: outptu",
        "output_control",
        "methods.output_control.control_of",
        ("'outptu'", "baseline, output", "'output'?"),
    ),
    "the control of itself": Mistake(
        "control_of: output",
        "control_of: output_control",
        "output_control",
        "methods.output_control.control_of",
        ("'output_control'", "baseline, output"),
    ),
    "controls in a circle": Mistake(
        "control_of: output}",
        "control_of: other}\n  other: {control_of: output_control}",
        "other: {",
        "methods.other.control_of",
        ("'output_control'", "baseline, output"),
    ),
    "a combination with an unknown method": Mistake(
        METHOD, "  combined: {of: output+kernl}\n", "combined", "methods.combined.of", ("'kernl'", "output")
    ),
    "a combination of a combination": Mistake(
        METHOD,
        METHOD + "  combined: {of: baseline+output}\n  more: {kind: combined, of: combined+output}\n",
        "more",
        "methods.more.of",
        ("'combined'", "baseline, output"),
    ),
    "a combination of a control": Mistake(
        METHOD, "  combined: {of: output+output_control}\n", "combined", "methods.combined.of", ("'output_control'",)
    ),
    "a combination of one": Mistake(
        METHOD, "  combined: {of: output}\n", "combined", "methods.combined.of", ("output", "two or more")
    ),
    "the weight of a method that is not combined": Mistake(
        METHOD,
        METHOD + "  combined: {of: baseline+output, weights: {outptu: 3}}\n",
        "combined",
        "methods.combined.weights",
        ("outptu", "baseline, output", "'output'?"),
    ),
    "a weight for a member that has none": Mistake(
        METHOD,
        METHOD + "  combined: {of: baseline+output, weights: {baseline: 3}}\n",
        "combined",
        "methods.combined.weights",
        ("'baseline'", "members with a weight"),
    ),
    "a combination of two losses of the label": Mistake(
        METHOD,
        "  gce: {}\n  mixup: {}\n  combined: {of: gce+mixup}\n",
        "combined",
        "methods.combined.of",
        ("gce+mixup",),
    ),
    "heads that cannot differ": Mistake(
        "split: stage2",
        "drop: 0, channel_drop: 0",
        "output: {",
        "methods.output.drop",
        ("0.0", "heads are equal"),
    ),
    # Channel dropout lies in front of the classifier's split: its masks are shared.
    "heads that cannot differ behind the split": Mistake(
        "split: stage2", "split: classifier, drop: 0, channel_drop: 0.1", "output: {", "methods.output", ("equal",)
    ),
    "three heads in a binary tree": Mistake(
        METHOD, "  multi_head: {heads: 3}\n", "multi_head", "methods.multi_head.heads", ("3", "2, 4, 8 or 16")
    ),
    "splits that make other heads": Mistake(
        METHOD,
        "  multi_head: {heads: 4, splits: [stage3]}\n",
        "splits",
        "methods.multi_head.splits",
        ("stage3", "gives 2 heads", "4 heads"),
    ),
    "a branch the network does not have": Mistake(
        METHOD,
        "  multi_head: {heads: 2, splits: [stage7]}\n",
        "splits",
        "methods.multi_head.splits",
        ("'stage7'", "stage1, stage2, stage3"),
    ),
    "independent views behind a split": Mistake(
        "heads: 2",
        "views: independent",
        "output: {",
        "methods.output.split",
        ("stage2", "independent views", "Allowed: input"),
    ),
    "a list without select": Mistake(
        "split: stage2",
        "split: stage2, drop: [0.1, 0.5]",
        "output: {",
        "methods.output.drop",
        ("'[0.1, 0.5]'", "one value, or a list together with select", "on: validation"),
    ),
    "a list without select among the weights of a combination": Mistake(
        METHOD,
        "  kernel: {}\n  combined: {of: output+kernel, weights: {kernel: [1, 2]}}\n",
        "combined",
        "methods.combined.weights.kernel",
        ("'[1, 2]'", "together with select"),
    ),
    "a list of nothing": Mistake("split: stage2", "drop: []", "output: {", "methods.output.drop", ("[]", "number")),
    "select without a list": Mistake(
        "split: stage2",
        "split: stage2, select: {seeds: [7]}",
        "output: {",
        "methods.output.select",
        ("[7]", "only beside a hyper-parameter that is a list"),
    ),
    # Taps are a list in any case: there is nothing to choose.
    "select beside a list of stages": Mistake(
        METHOD,
        "  representation: {taps: [stage1], select: {seeds: [7]}}\n",
        "representation",
        "methods.representation.select",
        ("only beside a hyper-parameter that is a list",),
    ),
    **{
        f"select with {name}": Mistake(
            "split: stage2", f"drop: [0.1, 0.5], select: {select}", "output: {", f"methods.output.select{key}", says
        )
        for name, select, key, says in (
            ("a seed of the final runs", "{seeds: [7, 1]}", ".seeds", ("'1'", "seeds that the final runs do not use")),
            ("no seeds", "{seeds: []}", ".seeds", ("[]", "at least 1")),
            ("a seed twice", "{seeds: [7, 7]}", ".seeds", ("[7, 7]", "twice")),
            ("seeds left out", "{on: validation}", ".seeds", ("missing",)),
            ("an unknown key", "{seeds: [7], seds: [8]}", ".seds", ("carry, on, seeds", "'seeds'?")),
            ("a word", "validation", "", ("'validation'", "give keys")),
            ("the test set", "{on: test, seeds: [7]}", ".on", ("'test'", "Allowed: validation")),
            ("a noise that is not there", "{seeds: [7], carry: {none: pair-0.1}}", ".carry.none", ("'pair-0.1'",)),
            ("a noise carried to itself", "{seeds: [7], carry: {none: none}}", ".carry.none", ("symmetric-0.5",)),
            (
                "noises carried in a circle",
                "{seeds: [7], carry: {none: symmetric-0.5, symmetric-0.5: none}}",
                ".carry.none",
                ("'symmetric-0.5'", "nothing here"),
            ),
        )
    },
    "a value that is not allowed among those to choose from": Mistake(
        "split: stage2",
        "drop: [0.1, 1.5], select: {seeds: [7]}",
        "output: {",
        "methods.output.drop",
        ("1.5", "less than 1"),
    ),
    "a candidate whose heads cannot differ": Mistake(
        "split: stage2",
        "channel_drop: 0, drop: [0.5, 0.0], select: {seeds: [7]}",
        "output: {",
        "methods.output.drop",
        ("'0.0'", "heads are equal"),
    ),
    **{
        f"a control with {name} than its method": Mistake(
            "split: stage2}\n  output_control: {control_of: output",
            "drop: [0.1, 0.5], select: {seeds: [7]}}\n  output_control: {control_of: output, " + keys,
            "output_control",
            "methods.output_control",
            (f"'{found}'", "2 with seeds [7], as for what it controls"),
        )
        for name, keys, found in (
            ("more candidates", "drop: [0.1, 0.2, 0.3], select: {seeds: [7]}", "3 with seeds [7]"),
            ("fewer candidates", "drop: [0.1], select: {seeds: [7]}", "1 with seeds [7]"),
            ("more seeds", "drop: [0.1, 0.2], select: {seeds: [7, 8]}", "2 with seeds [7, 8]"),
        )
    },
    **{
        f"a {what} named as a candidate": Mistake(old, new, ".candidate3", key, ("not ending in .candidateN",))
        for what, old, new, key in (
            ("method", METHOD, "  base.candidate3: {kind: baseline}\n", "methods.base.candidate3"),
            ("network", "  resnet8:\n", "  net.candidate3:\n    kind: resnet8\n", "networks.net.candidate3"),
        )
    },
    **{
        f"of a data set's own, {name}": Mistake(
            "validation_size: 50\n",
            f"validation_size: 50\n    {line}\n",
            line,
            f"datasets.digits.{key}",
            says,
        )
        for name, line, key, says in (
            ("a noise that is unknown", "noise: [none, symetric-0.5]", "noise", ("'symetric'", "'symmetric'?")),
            ("a noise that is a word", "noise: none", "noise", ("'none'", "a list")),
            ("a noise that is a mapping", "noise: {../x: {kind: none}}", "noise", ("../x", "a list")),
            ("no noise", "noise: []", "noise", ("[]", "at least one")),
            ("a noise twice", "noise: [none, none]", "noise", ("each noise once",)),
            ("a noise of other classes", "noise: [superclass-0.2]", "noise", ("digits", "only for cifar100")),
            ("a training key that is unknown", "training: {epoch: 3}", "training.epoch", ("schedule", "'epochs'?")),
            ("a training value", "training: {epochs: many}", "training.epochs", ("'many'", "integer")),
            ("a training that is a number", "training: 5", "training", ("5", "give keys")),
            ("labels of annotators", "human_labels: true", "human_labels", ("only cifar10 and cifar100",)),
            ("a quality", "quality: c23", "quality", ("'c23'", "only an image_folder")),
            ("groups", "group_pattern: a", "group_pattern", ("'a'", "only an image_folder has groups")),
            ("a sum that is short", "accept: {a.gz: abc}", "accept.a.gz", ("'abc'", "32 hexadecimal digits")),
            ("a sum that is a number", "accept: {a.gz: 123}", "accept.a.gz", ("123", "string")),
            ("a mirror that is a word", "mirrors: http://a/", "mirrors", ("'http://a/'", "a list")),
            ("a mirror that is a number", "mirrors: [3]", "mirrors.0", ("3", "string")),
            ("a folder that nothing is read from", "data_dir: /d", "data_dir", ("'/d'", "nothing for source digits")),
            ("a mirror of nothing", "mirrors: [http://a/]", "mirrors", ("http://a/", "nothing for source digits")),
            ("a sum of nothing", f"accept: {{a.gz: {'a' * 32}}}", "accept", ("a.gz", "nothing for source digits")),
            ("more pixels than there are", "image_size: 9", "image_size", ("'9'", "up to 8")),
        )
    },
    "fewer training images than classes": Mistake(
        "validation_size: 50",
        "validation_size: 50\n    train_size: 9",
        "train_size",
        "datasets.digits.train_size",
        ("'9'", "from 10: one image of each of the 10 classes"),
    ),
    "more training images than there are": Mistake(
        "validation_size: 50",
        "validation_size: 50\n    train_size: 9999",
        "train_size",
        "datasets.digits.train_size",
        ("'9999'", "up to 1297"),
    ),
    "no training images for all classes": Mistake(
        "validation_size: 50", "validation_size: 1288", "1288", "datasets.digits.validation_size", ("up to 1297",)
    ),
    "more validation images than there are": Mistake(
        "validation_size: 50", "validation_size: 1296", "1296", "datasets.digits.validation_size", ("up to 1297",)
    ),
    "noise of another source": Mistake(
        "symmetric-0.5", "asymmetric-0.4", "digits", "datasets.digits.noise", ("'asymmetric'", "only for cifar10")
    ),
    "annotators of another source": Mistake(
        "symmetric-0.5", "human-worst", "digits", "datasets.digits.noise", ("'human'", "only for cifar10 and cifar100")
    ),
    "an annotator that does not exist": Mistake(
        "symmetric-0.5", "human-wurst", "noise:", "noise", ("'human-wurst'", "human-fine", "'human-worst'?")
    ),
    "a rate for annotators": Mistake("symmetric-0.5", "human-0.4", "noise:", "noise", ("'human-0.4'", "human-worst")),
    **{
        f"{name} of annotated labels": Mistake(
            "  digits:\n    validation_size: 50", f"  {source}: {{validation_size: 50, {keys}}}", source, key, says
        )
        for name, source, keys, key, says in (
            (
                "another set",
                "cifar100",
                "human_labels: true, noise: [human-worst]",
                "datasets.cifar100.noise",
                ("human-fine",),
            ),
            ("the lack", "cifar10", "noise: [human-worst]", "datasets.cifar10.human_labels", ("'false'", "true")),
            (
                "the lack and another set",
                "cifar100",
                "noise: [human-worst]",
                "datasets.cifar100.noise",
                ("human-fine",),
            ),
        )
    },
    **{
        f"an image folder without {missing}": Mistake(
            "  digits:\n    validation_size: 50",
            f"  faces: {{source: image_folder, validation_size: 50, {given}}}",
            "faces",
            f"datasets.faces.{missing}",
            ("'None'", "an image folder has no default"),
        )
        for missing, given in (("data_dir", "image_size: 32"), ("image_size", "data_dir: faces"))
    },
    "an npz file without a path": Mistake(
        "  digits:\n    validation_size: 50",
        "  cells: {source: npz, image_size: 28}",
        "cells",
        "datasets.cells.data_dir",
        ("'None'", "an npz file has no default"),
    ),
    **{
        f"of an image folder, {name}": Mistake(
            "  digits:\n    validation_size: 50",
            f"  faces: {{source: image_folder, data_dir: d, image_size: 8, {given}}}",
            "faces",
            f"datasets.faces.{key}",
            words,
        )
        for name, given, key, words in (
            ("levels of no split", "quality: {training: c23}", "quality", ("'training'", "split", "'train'?")),
            ("levels of one split", "quality: {train: c23}", "quality", ("'train'", "levels of train and of test")),
            ("no level", "quality: []", "quality", ("'[]'", "the name of a quality level, or a list")),
            (
                "a level that is a number",
                "quality: {train: 23, test: a}",
                "quality.train",
                ("'23'", "numbers in quotes"),
            ),
            ("a level twice", "quality: [a, a]", "quality", ("each level once",)),
            ("a wrong pattern", "group_pattern: '('", "group_pattern", ("'('", "regular expression", "unterminated")),
            ("a file of groups elsewhere", "group_file: ../g.csv", "group_file", ("'../g.csv'", "a file in data_dir")),
            (
                "groups from two places",
                "group_file: g.csv, group_pattern: a",
                "group_file",
                ("'g.csv'", "nothing beside group_pattern"),
            ),
        )
    },
    "weights that are kept in part": Mistake(
        "training:\n",
        "execution: {keep_weights: some}\ntraining:\n",
        "some",
        "execution.keep_weights",
        ("all, half, none",),
    ),
    "offline by a number": Mistake(
        "training:\n", "execution: {offline: 3}\ntraining:\n", "offline", "execution.offline", ("3", "boolean")
    ),
    "a method with a slash": Mistake(
        METHOD, "  a/b: {kind: baseline}\n", "a/b", "methods.a/b", ("'a/b'", "letters, digits")
    ),
    "a data set with a slash": Mistake(
        "  digits:\n    validation_size: 50",
        "  a/b: {source: digits, validation_size: 50}",
        "a/b",
        "datasets.a/b",
        ("'a/b'", "letters, digits"),
    ),
    "a network above the results folder": Mistake(
        "  resnet8:\n    width: 4", "  ..: {kind: resnet8}", "..:", "networks...", ("'..'", "letters, digits")
    ),
}


def message(file: Path) -> str:
    """What loading `file` ends in."""
    with pytest.raises(CollabpipeError) as caught:
        load_settings([file])
    return str(caught.value)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_with_its_place_and_what_is_allowed(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    file = changed(tmp_path / "bad.yaml", mistake.old, mistake.new)
    lines = file.read_text().splitlines()

    told = message(file)

    assert "\n" not in told, "one mistake is one message"
    if mistake.at:
        number = next(n for n, line in enumerate(lines, 1) if mistake.at in line)
        assert told.startswith(f"{file}:{number}: {mistake.key}"), told
    else:
        assert told.startswith(f"{file}: {mistake.key}: "), told
    for words in mistake.says:
        assert words in told


def test_two_mistakes_are_told_together(tmp_path: Path) -> None:
    # Told one at a time, a long configuration would need a run a mistake.
    file = changed(tmp_path / "bad.yaml", "epochs: 2", "epochs: many\n  batch_size: 1")

    told = message(file).splitlines()

    assert [line.split(": ")[1] for line in told] == ["training.epochs", "training.batch_size"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("study: a\nseeds: [0]\nstudy: b\n", 3, "study is named twice"),
        ("training:\n  epochs: 1\n  epochs: 2\n", 3, "training.epochs is named twice"),
        ("methods:\n  output: {heads: 2, heads: 4}\n", 2, "methods.output.heads is named twice"),
        ("methods:\n  baseline: {}\n  'baseline': {}\n", 3, "methods.baseline is named twice"),
    ],
)
def test_a_key_that_is_named_twice_is_refused(text: str, line: int, words: str, tmp_path: Path) -> None:
    # YAML itself would take the last one without a word.
    file = tmp_path / "twice.yaml"
    file.write_text(text)

    assert message(file) == f"{file}:{line}: {words}. Remove one of the two."


@pytest.mark.parametrize(
    "text",
    [
        "seeds: [1,\nstudy: }",
        "study: a: b",
        "\tstudy: a",
        "study: !!python/object/apply:os.system [true]",
        "study: a\n---\nstudy: b\n",
        "study: \x00",
        # Values that look like dates and numbers, and are none: PyYAML's own readers stumble over them.
        "study: 2020-13-45",
        "seeds: [0x_]",
        f"seeds: [{'9' * 5000}]",
        # A mapping that holds itself.
        "methods: &m\n  baseline: *m\n",
        f"seeds: {'[' * 3000}",
    ],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)
def test_broken_yaml_is_told_with_its_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)

    assert str(file) in message(file)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a\n- list\n", "word"])
def test_a_file_without_keys_says_how_a_study_starts(text: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text(text)

    assert message(file) == f"{file}: holds no keys. A study starts with 'study: NAME'."


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")

    assert f"{tmp_path / 'none.yaml'}: cannot be read" in message(tmp_path / "none.yaml")
    assert f"{tmp_path}: cannot be read" in message(tmp_path)
    assert f"{binary}: no valid YAML" in message(binary)


@pytest.mark.parametrize(
    "name", ["unknown key in a method", "a split the network does not have", "controls in a circle"]
)
def test_the_command_ends_in_the_message_and_no_traceback(name: str, tmp_path: Path) -> None:
    file = changed(tmp_path / "bad.yaml", MISTAKES[name].old, MISTAKES[name].new)

    done = subprocess.run([COLLABPIPE, "plan", file], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == f"collabpipe plan: error: {message(file)}\n"
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == [file], "nothing is written for a study that cannot be"


@pytest.mark.parametrize("text", [None, "", "seeds: [1,\n"], ids=["missing", "empty", "broken"])
def test_the_command_says_which_file_is_no_configuration(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    if text is not None:
        file.write_text(text)

    done = subprocess.run([COLLABPIPE, "plan", file], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode != 0
    assert done.stderr.startswith(f"collabpipe plan: error: {file}: ")
    assert "Traceback" not in done.stderr
