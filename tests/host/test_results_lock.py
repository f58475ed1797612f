"""Who works on a results folder: beside each other those that run, alone whoever restores, shares or prunes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from collabpipe.cli import main
from collabpipe.cli.main import WRITING as WRITERS
from collabpipe.cli.main import parser
from collabpipe.common.errors import CollabpipeError
from collabpipe.host.results_lock import occupy, only_process
from tests.workspaces import Workspace

OCCUPY = "from collabpipe.host.results_lock import occupy; occupy(root)"
ALONE = (
    "from collabpipe.host.results_lock import only_process; held = only_process(root, 'restoring'); held.__enter__()"
)
BUSY = "Snakemake or a command of collabpipe is at work here, and"
TAKEN = "is being restored, shared or pruned by another process. Wait until it has finished."
WRITING = [command.__name__.rpartition(".")[2] for command in WRITERS]
RESTORING = ("restore", "share", "prune")
READING = ("plan", "status", "show", "verify", "schema")


class Held:
    """A process that holds a results folder."""

    def __init__(self, work: str, root: Path, folder: Path | None = None):
        begin = f"import sys; from pathlib import Path; root = Path(sys.argv[1])\n{work}\nprint('holds', flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{begin}sys.stdin.read()", str(root)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) != "holds\n":  # after what the work itself printed
            assert line, self.process.communicate()[1]

    def ends(self, by: signal.Signals | None = None) -> str:
        """Let it end, or kill it; what it said went wrong."""
        if by is not None:
            self.process.send_signal(by)
        return self.process.communicate()[1]


@contextmanager
def held(work: str, root: Path, folder: Path | None = None) -> Iterator[Held]:
    """While another process holds the folder."""
    process = Held(work, root, folder)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


def is_free(root: Path) -> bool:
    """Whether nobody at all holds the folder."""
    try:
        with only_process(root, "looking"):
            return True
    except CollabpipeError:
        return False


# --- between processes -----------------------------------------------------------------------------------------------


def test_many_work_beside_each_other_and_none_beside_who_is_alone(tmp_path: Path) -> None:
    with ExitStack() as processes:
        runs = [processes.enter_context(held(OCCUPY, tmp_path)) for _ in range(3)]
        for run in runs:
            with pytest.raises(CollabpipeError) as refused, only_process(tmp_path, "pruning"):
                pytest.fail("it was not alone")
            assert str(refused.value) == (
                f"{tmp_path}: Snakemake or a command of collabpipe is at work here, and pruning now would mix up its "
                "results. Wait until it has finished, or stop it."
            )
            assert run.ends() == ""
        assert is_free(tmp_path)

        restoring = processes.enter_context(held(ALONE, tmp_path))
        with pytest.raises(CollabpipeError) as refused:
            occupy(tmp_path)
        assert str(refused.value) == f"{tmp_path}: {TAKEN}"
        with pytest.raises(CollabpipeError, match="is at work here"), only_process(tmp_path, "sharing"):
            pytest.fail("two were alone")
        assert restoring.ends() == ""
        assert is_free(tmp_path)


@pytest.mark.parametrize("work", [OCCUPY, ALONE], ids=["beside", "alone"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_holds_nothing(work: str, by: signal.Signals, tmp_path: Path) -> None:
    with held(work, tmp_path) as process:
        assert not is_free(tmp_path)
        process.ends(by)
        assert is_free(tmp_path)


def test_a_child_that_was_started_by_a_killed_process_does_not_hold_for_it(tmp_path: Path) -> None:
    child = "import subprocess; subprocess.Popen(['sleep', '20'], close_fds=False, stdout=-3, stderr=-3)"
    with held(f"{OCCUPY}; {child}", tmp_path) as process:
        process.ends(signal.SIGKILL)
        assert is_free(tmp_path)


def test_what_fails_while_it_is_alone_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_process(tmp_path, "restoring"):
        _ = 1 / 0
    assert is_free(tmp_path)
    with pytest.raises(ValueError, match="again"), only_process(tmp_path, "restoring"):
        raise ValueError("again")


def test_another_results_folder_is_another_matter(tmp_path: Path) -> None:
    with held(ALONE, tmp_path / "one" / "results"):
        assert is_free(tmp_path / "two" / "results")
        assert not is_free(tmp_path / "one" / "results")
    with held(ALONE, Path("results"), folder=tmp_path):
        assert not is_free(tmp_path / "results"), "named from another folder it is still the same"


def test_a_folder_that_is_not_there_yet_is_made_and_holds_nothing_but_the_lock(tmp_path: Path) -> None:
    root = tmp_path / "new" / "results"
    with only_process(root, "restoring"):
        assert [path.name for path in root.iterdir()] == [".lock"]


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CollabpipeError, match=f"cannot write {tmp_path}/file"):
        occupy(tmp_path / "file")


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> Sequence[str]:
    """All commands of the command line."""
    [choices] = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return list(choices)


def arguments(command: str) -> list[str]:
    """Enough for a command to begin."""
    takes = (
        "fetch",
        "prepare",
        "labels",
        "train",
        "choose",
        "evaluate",
        "overhead",
        "tables",
        "figures",
        "report",
        "test",
    )
    return [command, *(["recipe.json"] if command in takes else [])]


def test_every_command_is_one_that_writes_works_alone_or_reads() -> None:
    elsewhere = {"doctor", "init", "predict", "export"}  # look at the machine, a new folder or one finished run
    assert set(commands()) - elsewhere == {*WRITING, *RESTORING, *READING}


@pytest.mark.parametrize("command", WRITING)
def test_a_command_that_writes_holds_the_results_and_is_refused_while_they_are_restored(
    command: str, study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    with held(ALONE, study.results):
        assert main(arguments(command)) == 1
        assert capsys.readouterr().err == f"collabpipe {command}: error: results: {TAKEN}\n"
    # The recipe is not there, and the command ends; its process goes on, and holds what a command holds while it works.
    work = f"from collabpipe.cli import main; main({arguments(command)!r})"
    with held(work, study.results, folder=study.root) as process:
        assert not is_free(study.results)
        assert "recipe.json: is missing" in process.ends()
    assert is_free(study.results)


@pytest.mark.parametrize("command", RESTORING)
def test_a_command_that_wants_to_be_alone_is_refused_while_others_work(
    command: str, study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    doing = {"restore": "restoring", "share": "sharing", "prune": "pruning"}[command]
    before = study.times()
    for work in (OCCUPY, ALONE):
        with held(work, study.results):
            assert main([command]) == 1
            assert capsys.readouterr().err.startswith(f"collabpipe {command}: error: results: {BUSY} {doing} now would")
    assert study.times() == before


@pytest.mark.parametrize("command", READING)
def test_a_command_that_only_reads_waits_for_nobody_and_holds_nothing(
    command: str, study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    before = study.times()
    with held(ALONE, study.results):
        assert main([command]) == 0
    assert capsys.readouterr().err == ""
    assert is_free(study.results)
    assert study.times() == before


def test_a_plan_that_writes_recipes_and_sets_times_is_refused_while_results_are_restored(
    study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    with held(ALONE, study.results):
        assert main(["plan", "--write"]) == 1
    assert capsys.readouterr().err == f"collabpipe plan: error: results: {TAKEN}\n"


def test_snakemake_is_refused_while_results_are_restored_and_says_so_without_a_traceback(study: Workspace) -> None:
    before = study.times()
    with held(ALONE, study.results):
        refused = study.snakemake(check=False)
    assert refused.returncode != 0
    printed = refused.stdout + refused.stderr
    assert f"results: {TAKEN}" in printed
    assert "Traceback" not in printed
    assert study.times() == before


# --- without the right to write --------------------------------------------------------------------------------------


# Of root alone: what a file's mode forbids is forbidden to this process as to any other user.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all")


def test_results_that_one_may_not_write_are_named_and_can_be_read(study: Workspace) -> None:
    become = UNPRIVILEGED if os.geteuid() == 0 else ()
    if become and subprocess.run([*become, "true"], capture_output=True).returncode != 0:
        pytest.skip("giving up the rights of root takes setpriv")
    (study.results / ".lock").chmod(0o444)
    study.results.chmod(0o555)
    try:
        for command in (arguments("tables"), ["prune"], ["share"], ["restore"]):
            refused = study.run(*become, "collabpipe", *command, check=False)
            assert refused.returncode == 1
            told = (
                "cannot write results: Permission denied. Make room or set its permissions, and run the same command "
            )
            assert refused.stderr == f"collabpipe {command[0]}: error: {told}again.\n"
        for reading in ("plan", "verify", "show", "status"):
            assert study.run(*become, "collabpipe", reading).stderr == ""
    finally:
        study.results.chmod(0o755)
