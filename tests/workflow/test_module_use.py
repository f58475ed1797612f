"""The workflow away from its own folder: as a module of another workflow, by -s and --directory, without a profile."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.validation import merge_files
from collabpipe.plan.paths import STAGES
from collabpipe.plan.plan import Plan
from collabpipe.results.workflow import Workflow, for_all_blocks
from collabpipe.settings.study import check_settings
from tests.workspaces import REPOSITORY, SMALL, Workspace, altered

RUN = "digits/symmetric-0.5/resnet8/baseline/seed0"
STUDY = altered({"methods": {"output": None, "output_control": None}, "seeds": [0], "training": {"epochs": 1}})
HOST = f"""
configfile: "host.yaml"


module study:
    snakefile:
        "{REPOSITORY / "Snakefile"}"
    config:
        config["ours"]
    prefix:
        "over here"


use rule * from study as study_*


rule all:
    default_target: True
    input:
        rules.study_all.input,
"""


def in_folder(root: Path) -> Workspace:
    root.mkdir()
    return Workspace(root)


# --- as a module -----------------------------------------------------------------------------------------------------


def test_a_module_with_a_prefix_makes_the_study_there_and_deleted_weights_again(tmp_path: Path) -> None:
    host = in_folder(tmp_path / "host")
    (host.root / "Snakefile").write_text(HOST)
    (host.root / "host.yaml").write_text(yaml.safe_dump({"ours": STUDY}))
    weights = host.root / "over here" / "results" / "small" / "runs" / RUN / "last.safetensors"

    # No profile but the quiet one: nothing that results hang on.
    quiet = ("--profile", REPOSITORY / "profiles" / "quiet")
    made = host.snakemake(*quiet)

    printed = made.stdout + made.stderr
    assert (host.root / "over here" / "results" / "small" / "tables" / "main.csv").exists()
    assert not host.results.exists()
    assert "localrules directive" not in printed, "rules that are local are so under their new names"
    jobs = [line for line in printed.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line.split()[1] for line in jobs] == [
        "study_fetch_dataset",
        "study_prepare_dataset",
        "study_noisy_labels",
        "study_train_0",
        "study_evaluate_0",
        "study_measure_overhead",
        "study_assemble_tables",
        "study_draw_figures",
        "study_write_report",
        "all",
    ]
    assert jobs[3].endswith(f"over here/results/small/logs/train/{Path(RUN).parent}/block0.log")
    assert len(printed.splitlines()) <= len(jobs) + 10
    before = weights.read_bytes()
    weights.unlink()
    host.snakemake(*quiet)
    assert weights.read_bytes() == before
    assert "Nothing to be done" in host.snakemake("-n").stdout


def test_wrong_keys_of_a_modules_configuration_are_laid_to_no_file_of_the_host(tmp_path: Path) -> None:
    # The host's own file has a key of the same name.
    host = tmp_path / "host.yaml"
    host.write_text("seeds: [1]\n")
    with pytest.raises(CollabpipeError) as told:
        Plan.from_config(altered({"seeds": 0}), [host], module="study")
    assert str(told.value).startswith("config of module study: seeds: value 0 is not allowed")


# --- from elsewhere --------------------------------------------------------------------------------------------------


def test_from_another_folder_paths_lie_beside_the_file_that_names_them_and_rules_keep_their_names(
    tmp_path: Path,
) -> None:
    work, studies = in_folder(tmp_path / "work"), tmp_path / "studies"
    studies.mkdir()
    (studies / "mine.yaml").write_text(yaml.safe_dump(SMALL | {"claims": "said.yaml"}))
    (studies / "said.yaml").write_text((REPOSITORY / "config" / "claims.yaml").read_text())

    planned = work.snakemake(
        "-n",
        *("-s", REPOSITORY / "Snakefile", "--directory", "there", "--configfile", "../studies/mine.yaml"),
        *("--set-resources", "train:mem_mb=1234", "train_each:mem_mb=5678", "--set-threads", "evaluate=2"),
    )

    assert {path.name for path in work.root.iterdir()} == {"there"}
    assert (work.root / "there" / "results" / "recipes").is_dir()
    jobs = dict(re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", planned.stdout, re.M))
    assert "mem_mb=1234" in jobs["train_0"]
    assert "mem_mb" not in jobs["evaluate_0"]
    assert "threads: 2" in jobs["evaluate_0"]
    assert "threads: 2" not in jobs["train_0"]
    assert "collabpipe has no rule train_each." in planned.stdout + planned.stderr


@pytest.mark.parametrize(
    ("seeds_per_job", "expected"),
    [(1, {"my_train": 8}), (2, {"my_train": 8, "my_train_0": 8, "my_train_1": 3})],
)
def test_what_is_set_for_all_trainings_holds_for_each_block_of_which_nothing_else_is_said(
    seeds_per_job: int, expected: dict[str, int]
) -> None:
    study = altered({"seeds": [0, 1, 2], "execution": {"seeds_per_job": seeds_per_job}})
    blocks = Workflow(Plan(check_settings(study, {}), Path("results"))).blocks
    given = {"my_train": 8} | ({"my_train_1": 3} if seeds_per_job == 2 else {})
    for_all_blocks(given, blocks, "my_{}".format)
    assert given == expected


def test_the_default_study_is_the_working_folders_or_else_the_one_beside_the_snakefile(tmp_path: Path) -> None:
    work = in_folder(tmp_path / "work")
    # Of the default study and of no other: its name.
    work.snakemake("-n", "-s", REPOSITORY / "Snakefile", "--quiet")
    shipped = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())["study"]
    assert [path for path in work.results.glob("recipes/*.json") if f'"study": "{shipped}"' in path.read_text()]


def test_paths_of_a_configuration_are_relative_to_the_file_that_names_them_and_of_an_option_to_here(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a" / "first.yaml", tmp_path / "b" / "second.yaml"
    for file in (first, second):
        file.parent.mkdir()
    own = {"fashion_mnist": {"data_dir": "copies", "train_size": 200, "validation_size": 50}}
    first.write_text(yaml.safe_dump(altered({"datasets": {"digits": None} | own, "claims": "../said.yaml"})))
    second.write_text("datasets: {fashion_mnist: {data_dir: other}}\n")

    def places(files: list[Path], **options: object) -> tuple[str | None, str | None]:
        settings = Plan.from_config(merge_files(files)[0] | options, files, options).settings
        return settings.datasets["fashion_mnist"].data_dir, settings.claims

    assert places([first]) == (f"{tmp_path}/a/copies", f"{tmp_path}/a/../said.yaml")
    assert places([first, second]) == (f"{tmp_path}/b/other", f"{tmp_path}/a/../said.yaml")
    assert places([first], claims="mine.yaml") == (f"{tmp_path}/a/copies", "mine.yaml")
    second.write_text("datasets: {fashion_mnist: {data_dir: /data/copies}}\nclaims: ~/said.yaml\n")
    assert places([first, second]) == ("/data/copies", str(Path("~/said.yaml").expanduser()))


# --- where a configuration comes from --------------------------------------------------------------------------------


def test_a_wrong_value_of_the_option_config_is_laid_to_the_option(tmp_path: Path) -> None:
    work = Workspace.create(tmp_path / "work", SMALL)
    refused = work.snakemake("-n", "--config", "seeds=0", check=False)
    assert refused.returncode != 0
    printed = refused.stdout + refused.stderr
    assert "option --config: seeds: value 0 is not allowed: give a list" in printed
    assert "config.yaml:" not in printed


def test_of_nested_keys_those_alone_that_the_option_gave_are_laid_to_it(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(altered({"training": {"batch_size": "many"}})))
    config = altered({"training": {"batch_size": "many", "epochs": -1}})
    with pytest.raises(CollabpipeError) as told:
        Plan.from_config(config, [file], {"training": {"epochs": -1}})
    lines = str(told.value).splitlines()
    assert any(line.startswith("option --config: training.epochs: ") for line in lines)
    assert any(re.match(rf"{file}:\d+: training\.batch_size: ", line) for line in lines)


def test_a_configuration_from_a_pipe_is_refused_with_the_way_out_and_by_hand_read_once(tmp_path: Path) -> None:
    work = Workspace.create(tmp_path / "work", SMALL)
    read = work.collabpipe("plan", "/dev/stdin", input=work.config.read_text())
    assert "small" in read.stdout

    # Snakemake itself takes JSON alone from a pipe.
    (work.root / "study.json").write_text(json.dumps(SMALL))
    refused = work.run("bash", "-c", "cat study.json | snakemake -n --configfile /dev/stdin", check=False)
    assert refused.returncode != 0
    assert "/dev/stdin: is no file on a disk" in refused.stdout + refused.stderr
    assert "--configfile study.yaml" in refused.stdout + refused.stderr


# --- what the docs say -----------------------------------------------------------------------------------------------

DOCS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "Snakefile", "Makefile", "dvc.yaml")),
    REPOSITORY / "config" / "README.md",
    # The page of errors shows one.
    *(path for path in (REPOSITORY / "docs").rglob("*.md") if path.name != "errors.md"),
]


def test_every_command_in_the_docs_has_two_dashes_before_its_targets() -> None:
    commands = [
        (path.name, words.split())
        for path in DOCS
        for words in re.findall(r"snakemake( -[^`#'\n]*)", path.read_text(encoding="utf-8"))
    ]
    targets = [(name, words) for name, words in commands if {*STAGES, "choices"} & set(words)]
    assert len(targets) >= 5
    assert not [(name, " ".join(words)) for name, words in targets if "--" not in words]
