"""Every source through the whole chain: from archives in their true formats on a web server to the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from collabpipe.common.files import read_json
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
    table = pd.read_csv(workspace.results / "tables" / "main.csv")
    assert len(table) == 3 + 3 + 1 + 1 + 1 + 1
    assert table["accuracy_mean"].notna().all()
    assert table.set_index("dataset")["auc_mean"].notna().to_dict()["faces"]
    assert table["auc_mean"].notna().sum() == 1
    stl = read_json(workspace.results / "provenance/runs/stl10/none/resnet8/baseline/seed0.json")
    assert stl["cost"]["steps"] == 2 * 3, "a data set's own number of epochs"
    noise = pd.read_csv(workspace.results / "tables" / "noise.csv").set_index(["dataset", "noise"])
    assert noise.loc[("cifar10", "human-worst"), "true_rate"] == pytest.approx(1.0), "every small label is shifted"
    assert noise.loc[("cifar10", "asymmetric-0.4"), "true_rate"] == pytest.approx(0.2, abs=0.07)
    assert "Nothing to be done" in workspace.snakemake("-n").stdout
