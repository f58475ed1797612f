"""The command line: its defaults, its help, and its output where the locale is not UTF-8."""

from __future__ import annotations

import pytest

from collabpipe.cli.main import COMMANDS, parser
from collabpipe.settings.training import ExecutionSettings
from tests.workspaces import Workspace, altered

LATIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "latin-1:strict"}
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.mark.parametrize("command", ["show", "plan", "verify", "prune"])
def test_commands_print_in_ascii_what_they_print_in_any_other_locale(command: str, study: Workspace) -> None:
    usual, plain = study.run("collabpipe", command), study.run("collabpipe", command, env=ASCII)

    assert plain.stdout.isascii()
    assert plain.stderr == usual.stderr
    words = [[word for word in done.stdout.split() if word.isalnum()] for done in (plain, usual)]
    assert words[0] == words[1]


def test_signs_that_a_locale_lacks_are_written_out(study: Workspace) -> None:
    assert " ± " in study.run("collabpipe", "show").stdout
    assert " +- " in study.run("collabpipe", "show", env=ASCII).stdout
    latin = study.run("collabpipe", "show", env=LATIN, encoding="latin-1").stdout
    assert " ± " in latin
    assert " - baseline" in latin


def test_an_error_message_is_a_message_in_any_locale(fresh: Workspace) -> None:
    fresh.configure(altered({"study": "müßig ≥", "methods": {"naïve→": {"kind": "outpüt"}}}))

    done = fresh.run("collabpipe", "plan", env=ASCII, check=False)

    assert done.returncode == 1
    assert "collabpipe plan: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.isascii()


DEFAULTS = [
    *(("train", option) for option in ("save_seconds", "save_epochs", "jobs_per_gpu", "cuda_graphs", "stage")),
    *((command, "keep") for command in ("evaluate", "choose")),
    *(("evaluate", "jobs_per_gpu"), ("train", "at_once"), ("overhead", "seconds")),
]
FIELDS = {"keep": "keep_weights", "at_once": "trainings_at_once", "seconds": "overhead_seconds"}


@pytest.mark.parametrize(("command", "option"), DEFAULTS)
def test_an_option_and_its_setting_have_the_same_default(command: str, option: str) -> None:
    arguments = parser().parse_args([command, "recipe.json"])

    assert getattr(arguments, option) == getattr(ExecutionSettings(), FIELDS.get(option, option))


def test_help_names_every_command_and_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        parser().parse_args(["--help"])

    shown = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert f"{command.__name__.rpartition('.')[2]} {command.__doc__}" in shown
