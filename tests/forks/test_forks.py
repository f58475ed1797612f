"""A command in a fork is what the installed command would have been, for whoever starts it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from collabpipe.cli import main
from tests import forks
from tests.workspaces import Lab, Workspace, altered

ABOUT = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("COLLABPIPE_X"), sys.stdin.read(), "torch" in sys.modules]))
print("told", file=sys.stderr)
sys.exit(7)
"""


def in_a_fork(workspace: Workspace, source: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of this source as a fork runs an installed command."""
    (script := workspace.root / "script").write_text(f"#!{sys.executable}\n{source}")
    script.chmod(0o755)
    client, server = Path(forks.__file__).with_name("client.py"), forks.folder() / "server"
    command: list[str | Path] = [sys.executable, "-ISE", client, server, script, *arguments]
    return workspace.run(*command, check=False, input="asked", env=variables)


@pytest.mark.parametrize(
    ("variables", "forked"),
    [({}, True), ({"OMP_NUM_THREADS": "1"}, True), ({"OMP_NUM_THREADS": "2"}, False), ({"MPLBACKEND": "svg"}, False)],
)
def test_arguments_folder_variables_streams_and_exit_code_are_the_callers(
    variables: dict[str, str], forked: bool, fresh: Workspace
) -> None:
    done = in_a_fork(fresh, ABOUT, "a b", "ü", COLLABPIPE_X="this one", **variables)
    assert (done.returncode, done.stderr) == (7, "told\n")
    # What a library reads on import is as the caller has it: else it is imported anew.
    assert json.loads(done.stdout) == [["a b", "ü"], str(fresh.root), "this one", "asked", forked]


def test_what_commands_in_this_process_set_keeps_no_later_one_from_a_fork(lab: Lab, study: Workspace) -> None:
    lab.trained(lab.recipe({}))
    shutil.rmtree(study.results / "store")
    for command, recipe in (("overhead --seconds 0", study.plan.overhead), ("figures", study.plan.study)):
        file = recipe.write(study.plan.paths.recipes)
        assert main([*command.split(), str(file), "--results", str(study.results)]) == 0
    assert json.loads(in_a_fork(study, ABOUT).stdout)[-1]


def test_a_style_of_matplotlib_in_the_folder_takes_the_installed_command(fresh: Workspace) -> None:
    (fresh.root / "matplotlibrc").write_text("figure.dpi: 20\n")
    assert not json.loads(in_a_fork(fresh, ABOUT).stdout)[-1]


def test_who_is_killed_by_a_signal_is_so_for_the_caller(fresh: Workspace) -> None:
    assert in_a_fork(fresh, "import os; os.kill(os.getpid(), 9)").returncode == -signal.SIGKILL


@pytest.mark.parametrize("changes", [{}, {"seeds": 0}])
def test_a_command_prints_what_the_installed_one_prints(changes: dict[str, Any], fresh: Workspace) -> None:
    fresh.configure(altered(changes))
    ends = [fresh.run(command, "plan", check=False) for command in ("collabpipe", forks.installed("collabpipe"))]
    first, second = [(end.returncode, end.stdout, end.stderr) for end in ends]
    assert first == second
    assert first[0] == bool(changes)
