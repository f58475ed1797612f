"""The command line where the locale is not UTF-8."""

from __future__ import annotations

import pytest

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
