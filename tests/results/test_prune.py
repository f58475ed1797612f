"""What no configuration asks for is listed, and removed on demand; whatever is asked for is not made a second time."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.filesize import decimal

from collabpipe.cli import main
from collabpipe.common.files import read_json
from collabpipe.host.results_lock import only_process
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.prune import freed_bytes, remove, unasked
from collabpipe.results.store import Store
from collabpipe.results.studies import note_study, studies_in
from collabpipe.results.timestamps import settle
from tests import searches
from tests.workspaces import REPOSITORY, SMALL, Workspace, altered, key_of

# One finished search for all test files that need it.

NOTHING = "Nothing to be done"
# The same images under another name.
FIGURES = {"source": "digits", "train_size": 200, "validation_size": 50}
NAMES = ("digits", "symmetric-0.5", "resnet8")
CELL = "/".join(NAMES)

Prune = Callable[..., str]


@pytest.fixture
def prune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prune:
    """`collabpipe prune` in a study's folder: what it printed."""

    def prune(study: Workspace, *arguments: str, code: int = 0) -> str:
        monkeypatch.chdir(study.root)
        capsys.readouterr()
        assert main(["prune", *arguments]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return prune


def listed(study: Workspace, printed: str) -> set[Path]:
    """What was listed, below the results folder."""
    lines = [line.partition(": results/") for line in printed.splitlines()]
    return {study.results / path for _, found, path in lines if found}


def everything(study: Workspace) -> set[Path]:
    """Every file of the results, but the lock that every command takes."""
    return {path for path in study.results.rglob("*") if path.is_file()} - {study.results / ".lock"}


def below(paths: Iterable[Path]) -> set[Path]:
    """The files that removing these files and folders takes away."""
    return {file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}


def taken(study: Workspace) -> int:
    """The bytes of all files, each once whatever links to it there are."""
    about = [path.lstat() for path in everything(study)]
    return sum({(a.st_dev, a.st_ino): a.st_size for a in about}.values())


# --- what should be listed -------------------------------------------------------------------------------------------


def of_runs(study: Workspace, names: Iterable[str]) -> set[Path]:
    """Folders, evaluations and what is known of their making."""
    paths, found = study.paths, set()
    for name in names:
        for kind in ("runs", "evaluations"):
            folder = study.folder / kind / name
            found |= {path for path in (folder, paths.provenance(folder)) if path.exists()}
    return found


def of_labels(study: Workspace, noise: str, seed: int) -> set[Path]:
    file = study.folder / "labels" / "digits" / noise / f"seed{seed}.parquet"
    return {file, file.with_suffix(".json"), study.paths.provenance(file)}


def of_recipes(study: Workspace, before: Plan, *after: Plan) -> set[Path]:
    """The recipes that one plan has and the others have not."""

    def digests(plan: Plan) -> set[str]:
        of_kind = (plan.data, plan.labels, plan.selections, plan.trainings)
        found = {recipe.digest for recipes in of_kind for recipe in recipes.values()}
        return found | {plan.overhead.digest, plan.study.digest}

    gone = digests(before).difference(*(digests(plan) for plan in after))
    return {study.results / "recipes" / f"{digest}.json" for digest in gone}


def of_store(study: Workspace, names: Iterable[str], overhead: Plan | None = None) -> set[Path]:
    """The stored results of runs, and the measured overhead of a plan."""
    keys = set()
    for name in names:
        for record in (
            study.folder / "runs" / name / "record.json",
            study.folder / "evaluations" / name / "metrics.json",
        ):
            keys |= {read_json(record)["key"]} if record.exists() else set()
    store = study.results / "store"
    found = {store / key[:2] / key for key in keys}
    if overhead is not None:
        measured = (path for path in store.glob("*/*/overhead.json"))
        found |= {p.parent for p in measured if read_json(p)["about"]["recipe"] == overhead.overhead.digest}
    return found


def runs(*methods: str, seeds: Iterable[int] = (0, 1)) -> list[str]:
    return [f"{CELL}/{method}/seed{seed}" for method in methods for seed in seeds]


ALL = runs("baseline", "output", "output_control")


# --- finished --------------------------------------------------------------------------------------------------------


def test_of_a_finished_study_nothing_is_pruned(study: Workspace, prune: Prune) -> None:
    before = study.times()
    for arguments in ([], ["config/config.yaml"], ["--remove"]):
        assert prune(study, *arguments) == "Everything here is asked for by config/config.yaml.\n"
    assert study.times() == before
    assert NOTHING in study.snakemake("-n").stdout


def test_of_a_searched_study_nothing_is_pruned_its_candidates_neither(
    searched: searches.Searched, prune: Prune
) -> None:
    before = everything(searched)
    assert prune(searched, "--remove").startswith("Everything here is asked for")
    assert everything(searched) == before


def test_of_a_study_that_was_never_run_nothing_is_pruned(fresh: Workspace, prune: Prune) -> None:
    assert prune(fresh, "--remove").startswith("Everything here is asked for")
    assert everything(fresh) == set()


# --- what is left out ------------------------------------------------------------------------------------------------


def without_a_seed(study: Workspace, before: Plan) -> set[Path]:
    gone = runs("baseline", "output", "output_control", seeds=[1])
    return of_runs(study, gone) | of_store(study, gone) | of_labels(study, "symmetric-0.5", 1)


def without_a_method(study: Workspace, before: Plan) -> set[Path]:
    gone = runs("output_control")
    return of_runs(study, gone) | of_store(study, gone, overhead=before)


def without_the_noise(study: Workspace, before: Plan) -> set[Path]:
    labels = of_labels(study, "symmetric-0.5", 0) | of_labels(study, "symmetric-0.5", 1)
    return of_runs(study, ALL) | of_store(study, ALL) | labels


def without_the_data_set(study: Workspace, before: Plan) -> set[Path]:
    folders = {study.results / kind / "digits" for kind in ("datasets", "raw")}
    made = {study.results / "provenance" / "datasets" / "digits.json"}
    return without_the_noise(study, before) | of_store(study, [], overhead=before) | folders | made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seeds": [0]}, without_a_seed),
        ({"methods": {"output_control": None}}, without_a_method),
        ({"noise": ["symmetric-0.2"]}, without_the_noise),
        ({"datasets": {"digits": None, "figures": FIGURES}}, without_the_data_set),
    ],
    ids=["seed", "method", "noise", "data set"],
)
def test_what_a_configuration_no_longer_asks_for_is_listed_and_then_removed_and_nothing_else(
    changes: dict[str, Any], expected: Callable[[Workspace, Plan], set[Path]], study: Workspace, prune: Prune
) -> None:
    before = study.plan
    study.configure(altered(changes))
    gone = expected(study, before) | of_recipes(study, before, study.plan)
    times, files, bytes_before = study.times(), everything(study), taken(study)
    freed = freed_bytes(unasked([study.plan], Paths(study.results)))

    printed = prune(study)
    assert listed(study, printed) == gone
    megabytes = decimal(freed)
    assert f"Not asked for by config/config.yaml: {len(gone)} files and folders, {megabytes}.\n" in printed
    assert printed.endswith("Remove them with: collabpipe prune --remove\n")
    assert study.times() == times, "nothing is removed that was only listed"

    going = below(gone)
    printed = prune(study, "--remove")
    assert listed(study, printed) == gone
    assert printed.endswith("Removed.\n")
    assert everything(study) == files - going
    assert freed == bytes_before - taken(study) > 0
    empty = [path for path in study.results.glob("*/**/*") if path.is_dir() and not any(path.iterdir())]
    assert empty == [study.plan.paths.selection], "which DVC expects also where nothing is searched"
    assert prune(study).startswith("Everything here is asked for")


def test_what_is_kept_is_not_made_again_and_what_was_pruned_is_when_it_is_asked_for_again(
    study: Workspace, prune: Prune
) -> None:
    trained, evaluated, table = study.trainings(), study.evaluations(), study.table().drop(columns="control")
    gone = study.keys("output_control")
    study.configure(altered({"methods": {"output_control": None}}))
    study.snakemake()
    assert study.trainings() == trained

    prune(study, "--remove")
    assert study.trainings() == trained - gone
    assert len(study.evaluations()) == len(evaluated) - 2
    assert NOTHING in study.snakemake("-n").stdout

    study.configure(SMALL)
    study.snakemake()
    assert study.trainings() == trained
    assert study.evaluations() == evaluated
    assert study.table().drop(columns="control").equals(table)
    assert {name for name, cost in study.costs().items() if cost["seconds"] > 0} == set(ALL)


# --- two studies -----------------------------------------------------------------------------------------------------


def test_of_two_studies_each_keeps_its_results_while_it_is_named(study: Workspace, prune: Prune) -> None:
    """The other study has another weight for the same names."""
    config = altered({"study": "other", "methods": {"output": {"weight": 7.0}, "output_control": None}, "seeds": [0]})
    (study.root / "config" / "other.yaml").write_text(yaml.safe_dump(config))
    own = study.trainings()
    study.snakemake("evaluations", "--configfile", "config/other.yaml")
    files = everything(study)
    first, other = study.plan, Plan.from_files([study.root / "config" / "other.yaml"], study.results)
    names = runs("baseline", "output", seeds=[0])
    store = study.paths.store
    of_first, of_other = (store / key[:2] / key for key in (key_of(plan, names[1]) for plan in (first, other)))

    named = "Everything here is asked for by config/config.yaml, config/other.yaml.\n"
    assert prune(study) == named
    assert prune(study, "config/config.yaml", "config/other.yaml", "--remove") == named
    assert everything(study) == files

    # Only the other one is named: the stored baseline is its own as well.
    found = listed(study, prune(study, "config/other.yaml"))
    baseline = first.paths.run(first.runs[names[0]].run)
    key = read_json(baseline / "record.json")["key"]
    assert {of_first, baseline} <= found
    assert not found & {of_other, store / key[:2] / key}
    assert not [path for path in found if path.is_relative_to(other.paths.folder)]

    # Only the first one is named.
    found = listed(study, prune(study, "config/config.yaml"))
    folders = {of(other.runs[name].run) for name in names for of in (other.paths.run, other.paths.evaluation)}
    [labels] = {other.paths.labels(recipe) for recipe in other.labels.values()}
    gone = folders | {labels} | {other.paths.provenance(path) for path in (*folders, labels)}
    evaluation = read_json(other.paths.metrics(other.runs[names[1]].run))["key"]
    gone |= {labels.with_suffix(".json"), of_other, store / evaluation[:2] / evaluation}
    assert found == gone | of_recipes(study, other, first)

    prune(study, "config/config.yaml", "--remove")
    assert study.trainings() == own
    assert NOTHING in study.snakemake("-n").stdout


def test_what_is_planned_until_pruning_has_the_results_for_itself_stays(
    study: Workspace, prune: Prune, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.configure(altered({"seeds": [0]}))
    assert "/seed1\n" in prune(study)

    @contextmanager
    def planned_before(root: Path, work: str) -> Iterator[None]:
        note_study(Plan.from_config(altered({"seeds": [0, 1]}), ["config/config.yaml"]))
        with only_process(root, work):
            yield

    monkeypatch.setattr("collabpipe.cli.prune.only_process", planned_before)
    before = everything(study)
    assert prune(study, "--remove").startswith("Everything here is asked for by ")
    assert everything(study) == before


def test_results_that_two_methods_share_stay_while_one_of_them_is_asked_for(study: Workspace, prune: Prune) -> None:
    """A method that is composed like another takes its result from the store, whoever asked for it first."""
    twin = {"kind": "output", "heads": 2, "split": "stage2"}
    study.configure(altered({"methods": {"output": None, "output_control": None, "twin": twin}}))
    trained = study.trainings()
    stored = of_store(study, runs("output"))

    found = listed(study, prune(study, "--remove"))

    assert of_runs(study, runs("output")) == set()
    assert not found & stored
    study.snakemake("evaluations")
    assert study.trainings() < trained
    assert study.keys("twin") <= trained


# --- half finished ---------------------------------------------------------------------------------------------------


def test_a_run_in_progress_is_not_pruned_under_and_what_it_saved_stays_while_it_is_asked_for(
    study: Workspace, prune: Prune
) -> None:
    longer = altered({"training": {"epochs": 10**6}, "seeds": [0], "methods": {"output": None, "output_control": None}})
    study.configure(longer)
    plan = study.plan
    settle(plan)
    [name] = plan.runs
    key = key_of(plan, name)
    folder = study.results / "store" / key[:2] / key
    recipe = study.results / "recipes" / f"{plan.runs[name].digest}.json"
    running = study.start("collabpipe", "train", recipe, "--save-seconds", "0")
    try:
        give_up = time.monotonic() + 600
        while not (folder / "state.safetensors").exists():
            assert running.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        files = everything(study)
        refused = prune(study, "--remove", code=1)
        assert refused == (
            "collabpipe prune: error: results: Snakemake or a command of collabpipe is at work here, and pruning now "
            "would mix up its results. Wait until it has finished, or stop it.\n"
        )
        assert prune(study, code=1) == refused
        assert {file for file in files if not file.name.endswith(".part")} <= everything(study)
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()

    assert folder not in listed(study, prune(study, "--remove"))
    assert (folder / "state.safetensors").exists()
    study.configure(altered({"seeds": [0]}))
    assert folder in listed(study, prune(study, "--remove"))
    assert not folder.exists()


# --- searches --------------------------------------------------------------------------------------------------------


def test_a_candidate_that_is_no_longer_searched_goes_and_no_training_with_what_is_still_chosen(
    searched: searches.Searched, prune: Prune
) -> None:
    before, choice = searched.plan, searched.choice
    winner = choice["chosen"]
    loser = f"{CELL}/kernel.candidate{1 - winner}/seed7"
    trained, evaluated = searched.trainings(), searched.evaluations()
    searched.configure(searches.with_weights(choice["values"]["weight"]))
    assert prune(searched, "config/config.yaml").count("choices: ") == 1
    found = listed(searched, prune(searched))

    assert searched.choice_file in found
    # The selection is another one: whatever depends on it is recorded anew, from what the store keeps.
    for method in ("kernel", "combined"):
        assert searched.folder / "runs" / CELL / method / "seed0" in found
    for method in ("baseline", "output"):
        assert searched.folder / "runs" / CELL / method / "seed0" not in found
    key = read_json(searched.folder / "runs" / loser / "record.json")["key"]
    stored = {path for path in found if path.is_relative_to(searched.results / "store")}
    overhead = of_store(searched, [], overhead=before)
    # The winner keeps its number, or takes that of the loser, whose names it then has.
    assert stored == {searched.results / "store" / key[:2] / key} | overhead

    prune(searched, "--remove")
    searched.snakemake("evaluations")
    assert searched.trainings() == trained - {key}
    assert searched.evaluations() == evaluated
    assert searched.choice["values"] == choice["values"]


def test_a_search_that_is_given_up_goes_with_its_choice_its_candidates_and_all_that_was_built_on_it(
    searched: searches.Searched, prune: Prune
) -> None:
    before = searched.plan
    searched.configure(altered({"methods": {"kernel": None, "combined": None}}, searches.STUDY))
    gone = [f"{CELL}/{name}" for name in ("kernel/seed0", "combined/seed0")]
    gone += [f"{CELL}/kernel.candidate{number}/seed7" for number in (0, 1)]
    expected = of_runs(searched, gone) | of_store(searched, gone, overhead=before) | {searched.choice_file}
    expected |= of_labels(searched, "symmetric-0.5", 7) | of_recipes(searched, before, searched.plan)
    choice = searched.choice_file

    assert listed(searched, prune(searched, "--remove")) == expected
    assert not choice.exists()
    assert searched.trainings() == searched.keys("baseline", "output")


# --- which configurations --------------------------------------------------------------------------------------------


def test_the_studies_are_all_in_the_folder_of_configurations_and_claims_are_none(study: Workspace) -> None:
    folder = study.root / "config"
    shutil.copyfile(REPOSITORY / "config" / "claims.yaml", folder / "claims.yaml")
    (folder / "empty.yaml").write_text("")
    (folder / "other.yaml").write_text(yaml.safe_dump(altered({"study": "other"})))
    assert studies_in(folder) == [folder / "config.yaml", folder / "other.yaml"]
    shipped = {path.name for path in studies_in(REPOSITORY / "config")}
    assert "config.yaml" in shipped
    assert "claims.yaml" not in shipped
    for path in studies_in(REPOSITORY / "config"):
        assert Plan.from_files([path], study.results).study.runs


def test_a_study_beside_others_in_the_folder_protects_its_results(study: Workspace, prune: Prune) -> None:
    (study.root / "config" / "before.yaml").write_text(study.config.read_text())
    study.configure(altered({"study": "now", "seeds": [0]}))
    before = everything(study)
    named = "Everything here is asked for by config/before.yaml, config/config.yaml.\n"
    assert prune(study, "--remove") == named
    assert everything(study) == before
    assert listed(study, prune(study, "config/config.yaml"))


@pytest.mark.parametrize("configs", ["no folder", "no study"])
def test_without_any_configuration_nothing_is_removed(configs: str, study: Workspace, prune: Prune) -> None:
    """Called from the wrong folder nothing is asked for, and everything would go."""
    study.config.unlink()
    if configs == "no folder":
        study.config.parent.rmdir()
    before = everything(study)
    assert prune(study, "--remove").startswith("Everything here is asked for by results/studies/small."), "its record"
    shutil.rmtree(study.results / "studies")
    printed = prune(study, "--remove", code=1)
    assert printed.startswith("collabpipe prune: error: config")
    assert everything(study) == {file for file in before if file.parent.name != "studies"}


def test_where_no_study_is_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["prune"]) == 1

    assert "collabpipe prune: error: config" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [unclosed", "config/broken.yaml"),
        ("study: other\nsedes: [0]\n", "sedes"),
        ("- study\n", "config/broken.yaml"),
    ],
    ids=["no YAML", "an unknown key", "a list"],
)
def test_beside_a_configuration_that_cannot_be_read_nothing_is_removed(
    text: str, message: str, study: Workspace, prune: Prune
) -> None:
    (study.root / "config" / "broken.yaml").write_text(text)
    study.configure(altered({"seeds": [0]}))
    before = everything(study)
    assert message in prune(study, "--remove", code=1)
    assert everything(study) == before


# --- odd results -----------------------------------------------------------------------------------------------------


def test_what_users_put_beside_the_results_is_left_alone(study: Workspace, prune: Prune) -> None:
    notes = study.results / "notes" / "today.md"
    notes.parent.mkdir()
    notes.write_text("mine")
    (study.folder / "tables" / "mine.csv").write_text("mine")
    study.configure(altered({"seeds": [0]}))
    prune(study, "--remove")
    assert notes.exists()
    assert (study.folder / "tables" / "mine.csv").exists()
    assert (study.folder / "logs").exists()


def test_what_a_failed_job_left_in_the_store_is_no_result_and_goes_unless_somebody_writes_there(
    study: Workspace, prune: Prune
) -> None:
    store, key = Store(study.paths.store), "ab" + 62 * "0"
    with pytest.raises(ZeroDivisionError), store.writing(key) as writer:
        raise ZeroDivisionError
    (writer.folder / ".state.safetensors.0123.part").touch()  # killed while it wrote

    assert prune(study).startswith("Everything here is asked for")
    with store.writing(key):
        assert prune(study, "--remove").startswith("Everything here is asked for")
        assert writer.claim.exists()
    printed = prune(study, "--remove")
    assert printed.startswith("Everything here is asked for")
    assert "Removed" not in printed
    assert not writer.folder.exists()


def test_a_run_whose_record_cannot_be_read_is_kept_while_it_is_asked_for(study: Workspace, prune: Prune) -> None:
    for name in runs("output"):
        (study.folder / "runs" / name / "record.json").write_text("{")
    assert prune(study).startswith("Everything here is asked for")
    study.configure(altered({"methods": {"output": None, "output_control": None}}))
    assert of_runs(study, runs("output")) <= listed(study, prune(study))


def test_what_a_training_has_saved_stays_if_nobody_knows_for_which_study(study: Workspace, prune: Prune) -> None:
    folder = Store(study.paths.store).folder("ab" + 62 * "0")
    folder.mkdir(parents=True)
    (folder / "state.safetensors").touch()
    assert prune(study, "--remove").startswith("Everything here is asked for")
    assert folder.exists()


def test_links_to_another_disk_stay_where_all_that_lies_there_is_removed(
    study: Workspace, prune: Prune, tmp_path: Path
) -> None:
    links = [study.paths.store, study.folder / "runs"]
    for link in links:
        shutil.move(link, tmp_path / link.name)
        link.symlink_to(tmp_path / link.name)
    study.configure(altered({"noise": ["symmetric-0.2"]}))
    assert prune(study, "--remove").endswith("Removed.\n")
    assert all(link.is_symlink() for link in links)
    assert list((tmp_path / "runs").iterdir()) == []
    assert prune(study).startswith("Everything here is asked for")


def test_linked_folders_lose_nothing_that_lies_elsewhere(study: Workspace, tmp_path: Path) -> None:
    """Sources on a network disk are often linked into the results."""
    elsewhere = tmp_path / "network"
    shutil.move(study.results / "raw" / "digits", elsewhere)
    (study.results / "raw" / "digits").symlink_to(elsewhere)
    study.configure(altered({"datasets": {"digits": None, "figures": FIGURES}}))
    found = unasked([study.plan], Paths(study.results))

    remove(found, Paths(study.results))

    assert (elsewhere / "fetched.json").exists()
    assert not (study.results / "raw" / "digits").is_symlink()
    assert not (study.results / "datasets" / "digits").exists()
