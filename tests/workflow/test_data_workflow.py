"""Every source through the whole chain: from archives in their true formats on a web server to the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from collabpipe.common.files import read_json
from collabpipe.data.labels import read_labels
from collabpipe.data.prepared import file_names, read_annotations
from tests.archives import Small, cifar10, cifar100, imagenet32, md5, serving, stl10
from tests.workspaces import Workspace, altered


def dataset(small: Small, **keys: Any) -> dict[str, Any]:
    accept = {name: md5(content) for name, content in small.files.items()}
    known = {"source": small.source, "accept": accept, "validation_size": 4, "train_size": None, "noise": ["none"]}
    return known | keys


def faces(folder: Path) -> Path:
    """Two classes at two quality levels: real faces are dark and forged ones bright, but for noise."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 24), ("test", 10)):
        for quality in ("raw", "c40"):
            for name, level in (("forged", 170), ("real", 80)):
                place = folder / split / quality / name
                place.mkdir(parents=True)
                for i in range(number):
                    pixels = generator.normal(level, 30, (20, 16, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def test_own_images_with_groups_and_validation_sets_become_tables(tmp_path: Path) -> None:
    """An npz file, and a folder of videos at two qualities: each has a validation set of its own, or groups."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, number in (("train", 40), ("val", 10), ("test", 20)):
        arrays[f"{split}_labels"] = labels = np.arange(number) % 2
        noise = generator.integers(0, 100, (number, 12, 12, 3))
        arrays[f"{split}_images"] = (noise + 120 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "cells.npz", **arrays)
    folder = faces(tmp_path / "faces")
    for path in sorted((folder / "test").rglob("*.png")):
        path.rename(path.with_stem(f"t{path.stem}"))
    images = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    lines = [f"{path},{path.parts[0]}-{path.parts[2]}-{int(path.stem.lstrip('t')) // 4}" for path in images]
    (folder / "videos.csv").write_text("\n".join(["file,group", *lines]))
    own = {"source": "image_folder", "data_dir": str(folder), "image_size": 8}
    config = altered(
        {
            "datasets": {
                "digits": None,
                "cells": {"source": "npz", "data_dir": str(tmp_path / "cells.npz"), "image_size": 12},
                "videos": own | {"quality": ["raw", "c40"], "group_file": "videos.csv", "validation_size": 16},
                "across": own
                | {"quality": {"train": "raw", "test": "c40"}, "validation_size": 8}
                | {"group_pattern": "[a-z]+/t?[0-9]"},
            },
            "noise": ["symmetric-0.2"],
            "methods": {"output": None, "output_control": None},
            "seeds": [0],
            "training": {"epochs": 1, "batch_size": 8},
        }
    )
    workspace = Workspace.create(tmp_path / "study", config)
    workspace.run("snakemake", "--cores", "2")

    plan = workspace.plan
    table = pd.read_csv(plan.paths.tables / "main.csv").set_index("dataset")
    assert table["accuracy_mean"].notna().to_dict() == {"cells": True, "videos": True, "across": True}
    found = {asked.data.dataset: read_labels(plan.paths.labels(asked), asked) for asked in plan.labels.values()}
    assert np.flatnonzero(found["cells"].validation).tolist() == list(range(40, 50))
    for name, number in (("videos", 16), ("across", 8)):
        groups = read_annotations(plan.data[name], plan.paths.dataset(name))["group"][found[name].index]
        validation = found[name].validation
        assert abs(int(validation.sum()) - number) <= 8
        assert not set(groups[validation]) & set(groups[~validation])
    assert file_names(plan.data["across"], plan.paths.dataset("across"), "test") == [
        str(path) for path in sorted(images, key=lambda path: path.parts) if path.parts[:2] == ("test", "c40")
    ]
    assert "Nothing to be done" in workspace.snakemake("-n").stdout
    workspace.collabpipe("verify")
    (folder / "videos.csv").write_text("\n".join(["file,group", *reversed(lines)]))
    assert "fetch_dataset/videos" in workspace.snakemake("-n").stdout


def test_archives_on_a_web_server_become_tables(tmp_path: Path) -> None:
    ten, hundred, large, pickled, packed = (
        cifar10(human=True),
        cifar100(human=True),
        stl10(),
        imagenet32(),
        imagenet32(packed=True),
    )
    own = tmp_path / "own"
    own.mkdir()
    for name, content in packed.files.items():
        (own / name).write_bytes(content)
    with serving({k: v for small in (ten, hundred, large, pickled) for k, v in small.files.items()}) as server:
        web = {"mirrors": [server.address]}
        config = altered(
            {
                "datasets": {
                    "digits": None,
                    "cifar10": dataset(ten, **web, human_labels=True)
                    | {"noise": ["asymmetric-0.4", "human-worst", "instance-0.3"]},
                    "cifar100": dataset(hundred, **web, human_labels=True)
                    | {"noise": ["superclass-0.4", "superclass_legacy-0.4", "human-fine"]},
                    "stl10": dataset(large, **web, image_size=32, training={"epochs": 2}),
                    "imagenet32": dataset(pickled, **web, noise=["pair-0.3"]),
                    "imagenet32_npz": dataset(packed, data_dir=str(own), noise=["symmetric_inclusive-0.3"]),
                    "faces": {"source": "image_folder", "data_dir": str(faces(tmp_path / "faces")), "quality": "c40"}
                    | {"image_size": 8, "validation_size": 8, "noise": ["symmetric-0.2"]},
                },
                "noise": ["none"],
                "methods": {"output": None, "output_control": None},
                "seeds": [0],
                "training": {"epochs": 1, "batch_size": 8},
            }
        )
        workspace = Workspace.create(tmp_path / "study", config)
        workspace.run("snakemake", "--cores", "2", env={"no_proxy": "127.0.0.1"})
        asked = list(server.asked)

    assert sorted(set(asked)) == sorted(asked), "each file was fetched once"
    assert len(asked) == 2 + 2 + 1 + 11
    table = pd.read_csv(workspace.folder / "tables" / "main.csv")
    assert len(table) == 3 + 3 + 1 + 1 + 1 + 1
    assert table["accuracy_mean"].notna().all()
    assert table.set_index("dataset")["auc_mean"].notna().to_dict()["faces"]
    assert table["auc_mean"].notna().sum() == 1
    stl = read_json(workspace.folder / "provenance/runs/stl10/none/resnet8/baseline/seed0.json")
    assert stl["cost"]["steps"] == 2 * 3, "a data set's own number of epochs"
    noise = pd.read_csv(workspace.folder / "tables" / "noise.csv").set_index(["dataset", "noise"])
    assert noise.loc[("cifar10", "human-worst"), "true_rate"] == pytest.approx(1.0), "every small label is shifted"
    assert noise.loc[("cifar10", "asymmetric-0.4"), "true_rate"] == pytest.approx(0.2, abs=0.07)
    assert "Nothing to be done" in workspace.snakemake("-n").stdout
