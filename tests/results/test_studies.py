"""Commands know which study's results lie here, what of it is up to date, what was begun and what failed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from collabpipe.cli import main
from collabpipe.cli.console import duration
from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.state import look
from collabpipe.results.studies import known_studies, note_study, recorded, study_here
from collabpipe.results.timestamps import settle
from collabpipe.results.unfinished import begun, failed
from tests.workspaces import REPOSITORY, Workspace, altered, key_of

CELL = "digits/symmetric-0.5/resnet8"
OTHER: dict[str, Any] = {
    "study": "my other",
    "methods": {"output": {"weight": 7.0}, "output_control": None},
    "seeds": [0],
}
PROVEN = "Every cell of the tables follows from its data, labels, recipes and checkpoints."
KEPT = "Everything here is asked for by "


class Here:
    """Commands in a study's folder, in this process."""

    def __init__(self, study: Workspace, capsys: pytest.CaptureFixture[str]):
        self.study, self.capsys = study, capsys
        self.root, self.results, self.folder = study.root, study.results, study.folder
        self.paths = Paths(Path("results"))

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        """What a command printed; on standard error if it failed."""
        self.capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        printed = self.capsys.readouterr()
        return printed.err if code else printed.out

    def plan_of(self, *files: Path) -> Plan:
        """The plan of a study's files, as it is named from here."""
        return Plan.from_files(list(files), Path("results"))

    def default(self) -> Plan:
        """The plan of the default study."""
        return self.plan_of(Path("config/config.yaml"))


@pytest.fixture
def here(study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """A finished study, in the folder of which commands are run."""
    monkeypatch.chdir(study.root)
    return Here(study, capsys)


def written(path: Path, config: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


# --- several studies -------------------------------------------------------------------------------------------------


def test_two_studies_lie_side_by_side_and_each_command_knows_both(here: Here, tmp_path: Path) -> None:
    mine = written(tmp_path / "elsewhere" / "mine.yaml", altered(OTHER))
    trained, before = here.study.trainings(), here.study.times()
    here.study.snakemake("--configfile", mine)
    other = here.plan_of(mine).paths.folder
    assert len(here.study.trainings() - trained) == 1, "the baseline comes from the store"
    assert {
        name for name, ns in before.items() if here.study.times()[name] != ns and name.startswith("small/")
    } == set()

    verified = here("verify")
    assert f"study my other ({mine})" in verified
    assert PROVEN in verified
    shown = here("show")
    assert shown.startswith("study my other\n")
    assert f"The tables are what study my other ({mine}) asks for.\n" in shown
    assert shown.endswith("Other studies here: small. Show them: collabpipe show small\n")
    for named in (("--study", "small"), ("small",)):
        assert "study small (config/config.yaml)\n" in here("verify", *named)
        assert here("status", *named).startswith("study small: ")
    assert "nobody: cannot be read" in here("status", "nobody", code=1)
    first, second = (here("show", name) for name in ("small", other.name))
    assert f"{other}/tables/main.csv" not in first
    assert "The tables are what study small (config/config.yaml) asks for.\n" in first
    assert here("show", "small", "my other") == first + second
    kept = f"{KEPT}config/config.yaml, {mine}.\n"
    assert here("prune") == here("prune", "--remove") == kept
    # Snakemake has nothing to do for either.
    for files in ((), ("--configfile", str(mine))):
        assert "Nothing to be done" in here.study.snakemake("-n", *files).stdout

    # Named alone, the default study does not ask for the other's results: no removal is advised.
    printed = here("prune", "config/config.yaml")
    assert f"of them are asked for by study my other ({mine}).\n" in printed
    assert printed.endswith("To list what no study asks for: collabpipe prune\n")
    assert "--remove" not in printed
    assert here("prune").startswith(KEPT), "the advice, followed"

    # Its results are its own when the file is gone, too.
    mine.unlink()
    assert PROVEN in here("verify", "--study", "my other")
    assert here("prune").startswith(KEPT)
    [record] = [one for one in recorded(here.paths) if one.about["study"] == "my other"]
    record.path.unlink()
    assert f"runs: {other}/runs/{CELL}/output/seed0\n" in here("prune")
    here("prune", "--remove")
    assert here.study.trainings() == trained
    assert "The tables are what study small (config/config.yaml) asks for.\n" in here("show")


def test_a_study_that_nobody_planned_here_is_asked_for_by_its_files(here: Here, tmp_path: Path) -> None:
    shutil.rmtree(here.results / "studies")
    assert PROVEN in here("verify"), "the default study"

    here.study.configure(altered({"study": "now"}))
    assert "no study small was planned here. Known: none." in here("show", "small", code=1)
    before = written(tmp_path / "before.yaml", altered({}))
    assert PROVEN in here("verify", before)


def test_a_study_is_known_by_its_name_from_whichever_file_it_was_planned_last(here: Here, tmp_path: Path) -> None:
    here.study.config.unlink()
    first = written(tmp_path / "first.yaml", altered({"seeds": [0]}))
    note_study(here.plan_of(first))
    renamed = first.rename(tmp_path / "renamed.yaml")
    note_study(here.plan_of(renamed))
    assert [(one.label, one.plan.settings.seeds) for one in known_studies(here.paths)] == [(str(renamed), (0,))]


def test_the_study_planned_last_is_known_and_planning_it_again_writes_nothing(here: Here, tmp_path: Path) -> None:
    shutil.rmtree(here.folder / "tables")
    other = here.plan_of(written(tmp_path / "other.yaml", altered(OTHER)))
    for plan in (other, here.default(), other):
        note_study(plan)
        assert study_here(here.paths).name == plan.settings.study
    before = here.study.times()
    note_study(other)
    assert here.study.times() == before


def test_the_study_planned_last_is_known_where_the_clock_is_coarse(here: Here, tmp_path: Path) -> None:
    shutil.rmtree(here.folder / "tables")
    other = here.plan_of(written(tmp_path / "other.yaml", altered(OTHER)))
    later = time.time_ns() + 10**10
    for plan in (other, here.default(), other):
        for record in here.paths.studies.glob("*.json"):
            os.utime(record, ns=(later, later))
        note_study(plan)
        assert study_here(here.paths).name == plan.settings.study


def test_values_of_the_command_line_belong_to_the_study(here: Here) -> None:
    """`--config seeds=[0,2]` is in no file."""
    plan = Plan.from_config(altered({"seeds": [0, 2]}), ["config/config.yaml"])
    note_study(plan)
    studies = known_studies(here.paths)
    assert [one.plan.settings.seeds for one in studies] == [(0, 1), (0, 2)]
    assert studies[1].label.endswith("which is config/config.yaml with other values")
    # The file as it is edited later counts.
    here.study.configure(altered({"seeds": [5]}))
    assert [one.plan.settings.seeds for one in known_studies(here.paths)] == [(5,)]


@pytest.mark.parametrize("name", ["config", "fashion", "paper", "variants"])
def test_a_recorded_study_asks_for_the_same_when_its_file_is_gone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "config", "config")
    file = Path(shutil.copy(f"config/{name}.yaml", f"config/mine_{name}.yaml"))
    plan = Plan.from_files([file], Path("results"))
    note_study(plan)
    file.unlink()
    [again] = recorded(Paths(Path("results")))
    assert again.is_gone
    assert again.study.plan.study == plan.study
    assert again.study.plan.trainings == plan.trainings


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null"])
def test_beside_a_record_that_cannot_be_read_nothing_is_removed(content: str, here: Here) -> None:
    [record] = [one.path for one in recorded(here.paths)]
    record.write_text(content)
    here.study.configure(altered({"seeds": [0]}))
    refused = here("prune", "--remove", code=1)
    assert f"{record}: is damaged" in refused
    assert "Start that study again with snakemake -n" in refused
    note_study(here.default())  # as the workflow does whenever it starts
    assert f"runs: results/small/runs/{CELL}/output/seed1\n" in here("prune"), "the advice, followed"


def test_a_file_that_is_merged_over_another_is_no_study_of_its_own(here: Here) -> None:
    """A study of two files, of which the second is not whole: docs/bring-your-own.md has such a one."""
    overlay = Path(written(here.root / "config" / "over.yaml", {"study": "over", "seeds": [0]}))
    assert f"Is {Path('config/over.yaml')} merged over another file?" in here("prune", code=1)
    note_study(Plan.from_files([Path("config/config.yaml"), Path("config") / overlay.name], here.paths.root))

    assert {one.name for one in known_studies(here.paths)} == {"small", "over"}
    assert here("prune").startswith(KEPT)


def test_the_advice_to_show_a_study_names_where_its_results_lie(here: Here) -> None:
    here.results.rename(here.root / "moved")
    other = here.plan_of(written(here.root / "other.yaml", altered(OTHER)))
    for files in (other.files, here.default().files):
        note_study(Plan.from_files(files, Path("moved")))

    assert "The study is finished: collabpipe show --results moved small\n" in here(
        "status", "--results", "moved", "small"
    )
    assert here("show", "--results", "moved", "small").startswith("study small\n"), "the advice, followed"
    shown = here("show", "--results", "moved")
    assert shown.endswith("Other studies here: my other. Show them: collabpipe show --results moved 'my other'\n")


def test_a_study_whose_file_names_another_one_now_is_told_so(here: Here) -> None:
    here.study.configure(altered({"study": "renamed"}))
    [record] = recorded(here.paths)

    assert record.study.name == "small"
    assert record.study.label.endswith("as config/config.yaml is study renamed now")
    assert record.study.remedy() == "snakemake --cores all (with its configuration in config/config.yaml again)"


def test_the_command_to_make_a_study_can_be_pasted(here: Here) -> None:
    config = altered({"study": "mine"})
    file = written(Path("my study.yaml"), config)
    note_study(here.plan_of(file))
    file.unlink()

    command = "snakemake --cores all --configfile 'my study.yaml'"
    note = "(with its configuration in my study.yaml again)"
    assert here("show", "mine", code=1).endswith(f"Make them: {command} {note}\n")
    replaced = here.default().study.write(here.paths.recipes)
    here.study.config.unlink()
    (here.paths.studies / "small.json").unlink()
    refused = here("report", "--study", "mine", replaced, code=1)
    assert refused.endswith(f"Write the page of that one: {command} -- report {note}\n")

    written(file, config)
    assert "report" in here.study.run(*shlex.split(f"{command} -n -- report")).stdout, "the advice, followed"


def test_the_command_of_a_study_with_other_values_names_no_value_to_fill_in(here: Here) -> None:
    note_study(Plan.from_config(altered({"seeds": [0, 2]}), ["config/config.yaml"]))

    _, study = known_studies(here.paths)
    assert study.command() == "snakemake --cores all"
    assert study.remedy("report") == (
        "snakemake --cores all -- report (with --config and the values that it was started with)"
    )


def test_a_record_that_this_version_does_not_take_says_how_to_give_it_up(here: Here) -> None:
    [record] = [one.path for one in recorded(here.paths)]
    here.study.config.rename(here.root / "config" / "gone.txt")
    record.write_text(json.dumps(read_json(record) | {"config": altered({"methods": {"output": {"wieght": 1.0}}})}))
    refused = here("prune", code=1)
    assert f"{record}: config: methods.output.wieght: unknown key" in refused
    assert f"To give it up, remove {record}." in refused


# --- verify: what to do ----------------------------------------------------------------------------------------------


def test_what_another_configuration_made_is_out_of_date_and_no_removal_is_advised(here: Here) -> None:
    here.study.configure(altered({"training": {"epochs": 3}}))
    refused = here("verify", code=1)
    assert "out of date: results/small/runs/" in refused
    assert "Nothing of this needs to be removed. Make it again: snakemake --cores all\n" in refused
    assert "broken" not in refused
    assert "Remove" not in refused


def test_what_is_broken_is_made_again_by_the_advice(here: Here, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.yaml", altered({}))
    here.study.config.unlink()
    settle(here.plan_of(mine))
    wrong = here.folder / "tables" / "main.csv"
    before = wrong.read_text()
    wrong.write_text("0")
    refused = here("verify", code=1)
    command = f"snakemake --cores all --configfile {mine}"
    assert refused.endswith(f"Remove what is broken and make it again: {command}\n")
    wrong.unlink()
    here.study.run(*command.split())
    assert wrong.read_text() == before
    assert PROVEN in here("verify")


def test_values_of_a_dry_run_give_up_nothing_that_the_file_asks_for(here: Here, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.yaml", altered({}))
    here.study.configure(altered({"study": "other", "seeds": [7]}))
    here.study.snakemake("--configfile", mine, "-n")
    here.study.snakemake("--configfile", mine, "--config", "seeds=[0]", "-n")
    assert f"The tables are what study small ({mine}) asks for.\n" in here("show")
    assert "Every cell of the tables follows" in here("verify")
    assert "runs: " not in here("prune")


# --- show ------------------------------------------------------------------------------------------------------------


def test_a_table_is_shown_with_its_study_and_whether_it_is_what_that_asks_for(here: Here) -> None:
    assert "The tables are what study small (config/config.yaml) asks for.\n" in here("show")
    here.study.configure(altered({"seeds": [0, 1, 2]}))
    shown = here("show")
    assert "study small" in shown.splitlines()[0]
    assert "OUT OF DATE: study small (config/config.yaml) was changed after these tables were made.\n" in shown
    assert "Of 9 runs of study small (config/config.yaml) 6 are trained and 6 evaluated. " in shown
    assert "Make what is missing, and the tables again: snakemake --cores all\n" in shown


def test_tables_of_other_results_than_those_here_are_out_of_date(here: Here) -> None:
    tables = here.folder / "tables" / "record.json"
    record = read_json(tables)
    write_json(tables, sealed(record | {"evaluations": record["evaluations"][::-1]}))
    assert "has other results by now than these tables show.\n" in here("show")


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([0], "Of 1 run of study small (config/config.yaml) 1 is trained and 1 evaluated."),
        ([0, 9], "Of 2 runs of study small (config/config.yaml) 1 is trained and 1 evaluated."),
        ([9], "Of 1 run of study small (config/config.yaml) 0 are trained and 0 evaluated."),
    ],
)
def test_one_run_is_told_in_the_singular(seeds: list[int], said: str, here: Here) -> None:
    here.study.configure(altered({"seeds": seeds, "methods": {"output": None, "output_control": None}}))
    assert said in here("show")


def test_without_tables_it_is_said_which_study_makes_them(here: Here) -> None:
    shutil.rmtree(here.folder / "tables")
    refused = here("show", code=1)
    assert "Of 6 runs of study small (config/config.yaml) 6 are trained and 6 evaluated." in refused
    assert refused.endswith("Make them: snakemake --cores all\n")


# --- begun, stopped, failed ------------------------------------------------------------------------------------------


def killed_training(here: Here, epochs: int, ready: Callable[[Path], bool]) -> tuple[str, Path]:
    """A long training of one run, looked at while it is at work, and then killed."""
    here.study.configure(altered({"training": {"epochs": epochs}, "seeds": [0]}))
    plan = here.default()
    settle(plan)
    name = f"{CELL}/output/seed0"
    key = key_of(plan, name)
    folder = here.results / "store" / key[:2] / key
    recipe = here.results / "recipes" / f"{plan.runs[name].digest}.json"
    running = here.study.start("collabpipe", "train", recipe, "--save-seconds", "0")
    try:
        give_up = time.monotonic() + 120
        while not ready(folder):
            assert running.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        [found] = begun(plan, look(plan)).values()
        assert str(found.writer).startswith(f"process {running.pid} on ")
        [line] = [line.strip() for line in here("plan").splitlines() if f"{name}: " in line]
        assert line.startswith(f"{name}: running, epoch ")
        assert f", on cpu, process {running.pid} on " in line
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    return name, folder


def test_a_training_that_is_at_work_or_was_killed_is_shown_with_what_it_saved(here: Here) -> None:
    name, folder = killed_training(here, 2000, lambda folder: (folder / "state.safetensors").exists())
    printed = here("plan")
    [line] = [line.strip() for line in printed.splitlines() if f"{name}: " in line]
    assert re.match(rf"{name}: stopped at epoch \d+, saved after epoch \d+ of 2000$", line)
    assert "Trainings that were begun and are not finished:" in printed

    (folder / "state.safetensors").unlink()
    (folder / "progress.json").unlink()
    assert f"  {name}: stopped, nothing is saved yet\n" in here("plan")
    (folder / "state.safetensors").write_bytes(b"no state")
    state = Path("results") / folder.relative_to(here.results) / "state.safetensors"
    assert f"  {name}: stopped, its saved state cannot be read: {state}\n" in here("plan")
    # Of another configuration, which asks for it no longer.
    here.study.configure(altered({"training": {"epochs": 3}, "seeds": [0]}))
    assert "Trainings that were begun" not in here("plan")


def test_a_failed_job_is_shown_with_the_last_line_of_its_log_until_it_is_done(here: Here) -> None:
    here.study.configure(altered({"methods": {"output": {"weight": 7.0}, "output_control": None}}))
    key = key_of(here.default(), f"{CELL}/output/seed0")
    state = here.results / "store" / key[:2] / key / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a state")
    assert here.study.snakemake(check=False).returncode != 0

    [job] = failed(here.default(), look(here.default()))
    assert job.job == f"train/{CELL}/output/block0"
    assert job.log == Path("results/small") / "logs" / "train" / CELL / "output" / "block0.log"
    assert job.line == job.log.read_text().splitlines()[-1]
    assert str(state.relative_to(here.root)) in job.line
    printed = here("plan")
    assert f"  {job.job}: {job.line}\n    {job.log}\n" in printed
    assert "Trainings that were begun" not in printed, "it is not stopped: it failed"

    # Another weight was never tried.
    here.study.configure(altered({"methods": {"output": {"weight": 8.0}, "output_control": None}}))
    assert "Jobs whose last attempt failed" not in here("plan")
    here.study.configure(altered({"methods": {"output": {"weight": 7.0}, "output_control": None}}))
    state.unlink()
    here.study.snakemake("--", "checkpoints")
    assert "Jobs whose last attempt failed" not in here("plan")


@pytest.mark.parametrize(
    ("job", "gone"),
    [
        ("prepare_dataset/digits", "datasets"),
        ("noisy_labels/digits/symmetric-0.5/seed0", "labels"),
        (f"evaluate/{CELL}/output/block0", "evaluations"),
        ("measure_overhead", "overhead"),
        ("assemble_tables", "tables"),
    ],
)
def test_whichever_job_failed_its_log_is_named(job: str, gone: str, here: Here) -> None:
    log = here.default().paths.log(job)
    log.write_text("begins\n/bin/bash: line 1: collabpipe: command not found\n")
    assert "Jobs whose last attempt failed" not in here("plan"), "it was done"
    shutil.rmtree((here.results if gone == "datasets" else here.folder) / gone)
    assert f"  {job}: /bin/bash: line 1: collabpipe: command not found\n    {log}\n" in here("plan")


def test_figures_that_could_not_be_drawn_are_told_beside_their_tables(here: Here) -> None:
    (here.folder / "figures" / "curves.png").unlink()
    shown = here("show")
    assert "curves.png" not in shown
    assert "The tables are what study small (config/config.yaml) asks for.\n" in shown
    assert "The figures are missing or OUT OF DATE. Draw them: snakemake --cores all\n" in shown
    assert shown.endswith("report.html (OUT OF DATE). Open it in a browser.\n")
    assert "tables are current, figures not" in here("plan")
    shutil.rmtree(here.folder / "figures")
    assert "Figures: none\n" in here("show")


# --- what no study asks for any more ---------------------------------------------------------------------------------


def test_runs_of_a_removed_seed_are_told_when_planning_until_they_are_pruned(here: Here) -> None:
    line = "3 runs lie in results/small that the study does not ask for any more. See: collabpipe prune\n"
    assert "does not ask for" not in here("plan")
    here.study.configure(altered({"seeds": [0]}))
    assert line in here("plan")
    started = here.study.snakemake("-n")
    assert (started.stdout + started.stderr).count(line) == 1

    # The same study by another file keeps them; another study has runs of its own.
    written(here.root / "config" / "other.yaml", altered({"study": "other"}))
    assert line in here("plan")
    written(here.root / "config" / "other.yaml", altered({}))
    assert "does not ask for" not in here("plan")
    (here.root / "config" / "other.yaml").unlink()

    printed = here("prune")
    assert printed.endswith("Remove them with: collabpipe prune --remove\n")
    here("prune", "--remove")
    assert "does not ask for" not in here("plan")


def test_the_advice_to_prune_names_what_it_was_asked_with(here: Here) -> None:
    file = here.root / "config" / "config.yaml"
    here.study.configure(altered({"seeds": [0]}))
    printed = here("prune", file, "--results", here.results)
    advice = printed.splitlines()[-1].removeprefix("Remove them with: ")
    assert advice == f"collabpipe prune --results {here.results} {file} --remove"
    here.study.run(*advice.split())
    assert here("prune").startswith(KEPT)


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.034, "0.034 seconds"),
        (4.26, "4.3 seconds"),
        (42.0, "42 seconds"),
        (89.9, "90 seconds"),
        (90.0, "1.5 minutes"),
        (1800.0, "30 minutes"),
        (5400.0, "1.5 hours"),
        (86400.0, "24 hours"),
        (1e8, "1,157 days"),
    ],
)
def test_a_length_of_time_has_a_unit_that_suits_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
