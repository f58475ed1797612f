"""A searched study, run by the real Snakemake: what is trained, chosen, and made again.

Of what was evaluated the last weights stay in half precision, as in large studies: whatever is trained again or not
is so without the weights of the first time.
"""

from __future__ import annotations

import shutil

import pytest
from safetensors.torch import load_file

from collabpipe.common.files import is_sealed, json_digest, read_json, write_json
from tests.searches import NAMES, STUDY, WEIGHTS, Searched, candidate_run, with_weights
from tests.workspaces import jobs

NOTHING = "Nothing to be done"


def test_final_runs_are_trained_with_what_was_chosen_and_keep_what_they_must(searched: Searched) -> None:
    choice = searched.choice
    chosen = choice["values"]["weight"]

    assert is_sealed(choice)
    assert chosen == WEIGHTS[choice["chosen"]]
    assert searched.weights() == {"kernel": chosen, "combined": chosen}
    rates = {r["run"]["method"]: r["training"]["learning_rate"] for r in searched.records().values() if "training" in r}
    assert rates == {"kernel": 0.05, "combined": 0.1}
    assert choice["trainings"] == [searched.candidate(number)["digest"] for number in (0, 1)]
    records = searched.records()
    for method in ("kernel", "combined"):
        assert records[f"{'/'.join(NAMES)}/{method}/seed0"]["choices"] == {"kernel": choice["digest"]}
    assert {record["kept"] for record in records.values()} == {"half"}
    assert {searched.candidate(number)["kept"] for number in (0, 1)} == {"none"}
    # Four runs and two candidates were trained, and of these the runs evaluated.
    assert (len(searched.trainings()), len(searched.evaluations())) == (6, 4)
    assert list(searched.table().index) == list(STUDY["methods"])
    folder = searched.plan.paths.run(candidate_run(0))
    assert load_file(folder / "last.safetensors") == {}
    evaluation = searched.plan.paths.evaluation(candidate_run(0))
    assert not evaluation.exists(), "no candidate meets the test set"
    assert len(list(searched.results.rglob("metrics.json"))) == len(searched.plan.runs)
    assert NOTHING in searched.snakemake("-n").stdout


def test_choices_need_no_test_file(searched: Searched) -> None:
    choice = searched.choice
    shutil.rmtree(searched.folder / "selection")
    shutil.rmtree(searched.folder / "runs")
    shutil.rmtree(searched.folder / "evaluations")
    shutil.rmtree(searched.results / "store")
    (searched.results / "datasets" / "digits" / "test.arrow").unlink()

    done = jobs(searched.snakemake("choices"))

    assert {name: done[name] for name in ("train_candidates", "choose")} == {"train_candidates": 2, "choose": 1}
    assert done.keys() <= {"train_candidates", "choose", "choices"}, "no data is prepared, nothing evaluated"
    assert not (searched.results / "datasets" / "digits" / "test.arrow").exists()
    assert len(searched.trainings()) == 2
    again = searched.choice
    assert (again["values"], again["candidates"]) == (choice["values"], choice["candidates"])


def test_a_candidate_that_cannot_win_is_trained_alone_and_one_that_did_not_win_goes_for_nothing(
    searched: Searched,
) -> None:
    trained, evaluated, choice = searched.trainings(), searched.evaluations(), searched.choice

    # The third one's first loss is infinite.
    searched.configure(with_weights(*WEIGHTS, 1e39))
    searched.snakemake("evaluations")
    added = searched.candidate(2)
    assert added["status"] == "diverged"
    assert searched.trainings() - trained == {added["key"]}
    assert searched.evaluations() == evaluated
    assert len(searched.choice["candidates"]) == 3
    assert (searched.choice["values"], searched.choice["digest"]) == (choice["values"], choice["digest"])

    trained = searched.trainings()
    searched.configure(with_weights(choice["values"]["weight"]))
    searched.snakemake()
    assert (searched.trainings(), searched.evaluations()) == (trained, evaluated)
    assert (len(searched.choice["candidates"]), searched.choice["chosen"]) == (1, 0)
    assert searched.choice["digest"] == choice["digest"]
    assert NOTHING in searched.snakemake("-n").stdout


def test_a_choice_that_changes_trains_what_depends_on_it_and_changing_back_trains_nothing(searched: Searched) -> None:
    trained, winner = searched.trainings(), searched.choice["values"]["weight"]
    [loser] = [weight for weight in WEIGHTS if weight != winner]
    metrics = {name: read_json(searched.folder / "evaluations" / name / "metrics.json") for name in searched.plan.runs}
    table = (searched.folder / "tables" / "main.csv").read_bytes()

    searched.configure(with_weights(loser))
    searched.snakemake()
    assert searched.trainings() - trained == searched.keys("kernel", "combined")
    assert len(searched.trainings() - trained) == 2
    assert searched.weights() == {"kernel": loser, "combined": loser}
    assert NOTHING in searched.snakemake("-n").stdout

    # A choice stands for a study: back with the old values it is made again from what the store holds.
    trained = searched.trainings()
    searched.configure(STUDY)
    searched.snakemake()
    assert searched.trainings() == trained
    assert searched.weights() == {"kernel": winner, "combined": winner}
    for name, before in metrics.items():
        assert read_json(searched.folder / "evaluations" / name / "metrics.json") == before
    assert (searched.folder / "tables" / "main.csv").read_bytes() == table


@pytest.mark.parametrize("with_digest", [False, True])
def test_an_edited_choice_is_made_again_and_nothing_is_trained_from_it(with_digest: bool, searched: Searched) -> None:
    choice, trained = searched.choice, searched.trainings()
    foreign = choice["definition"] | {"weight": 123.0}
    digest = {"digest": json_digest(foreign)} if with_digest else {}
    write_json(searched.choice_file, choice | {"definition": foreign} | digest)

    searched.snakemake("evaluations")

    assert searched.choice == choice
    assert searched.trainings() == trained
    assert searched.weights() == dict.fromkeys(("kernel", "combined"), choice["values"]["weight"])
    assert NOTHING in searched.snakemake("-n", "evaluations").stdout
