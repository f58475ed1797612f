"""Plugins: what they enter, what is wrong in one and where, and that each study sees its own alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collabpipe import plugin as api
from collabpipe.catalogue.noises import NOISES
from collabpipe.catalogue.sources import SOURCES
from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import activate, add_entry, load
from collabpipe.data.noise import Clean
from collabpipe.methods.registry import KINDS, TERMS
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe, read_recipe
from collabpipe.settings.data import NoiseSettings
from collabpipe.settings.study import check_settings
from tests.workspaces import SMALL, altered

Write = Callable[..., Path]
NETWORK = """
from collabpipe import plugin

@plugin.network("NAME", plugin.Layout(width=WIDTH, channels=(1, 2), strides=(1, 2)))
def build(width, channels, classes):
    pass
"""


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a plugin; afterwards none is in use."""

    def written(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text.lstrip("\n"))
        return path

    yield written
    activate([])


def study(*plugins: Path, **changes: Any) -> Plan:
    values = altered(changes) | ({"plugins": [str(path) for path in plugins]} if plugins else {})
    return Plan(check_settings(values, {}), Path("results"))


def network(name: str = "plain", width: int = 8) -> str:
    return NETWORK.replace("NAME", name).replace("WIDTH", str(width))


def test_a_study_without_plugins_sees_none(write: Write) -> None:
    mine = write(network())
    own = [dict(registry) for registry in (LAYOUTS, KINDS, TERMS, NOISES, SOURCES)]

    with_it = study(mine, networks={"plain": {}})
    assert LAYOUTS["plain"].channels == (1, 2)
    study()

    assert [dict(registry) for registry in (LAYOUTS, KINDS, TERMS, NOISES, SOURCES)] == own
    with pytest.raises(CollabpipeError, match="'plain' is not allowed"):
        study(networks={"plain": {}})
    # A plan has made its recipes while its plugins were in use.
    assert {recipe.network.kind for recipe in with_it.runs.values()} == {"resnet8", "plain"}


def test_only_recipes_that_use_a_plugin_hold_its_digest(write: Write) -> None:
    mine = write(network())
    digest = load(mine).digest

    made, plain = study(mine, networks={"plain": {}}), study()

    of_plain = [recipe for recipe in made.runs.values() if recipe.network.kind == "plain"]
    assert of_plain
    assert {recipe.plugins for recipe in of_plain} == {(digest,)}
    assert {name: recipe.digest for name, recipe in made.runs.items() if recipe.network.kind == "resnet8"} == {
        name: recipe.digest for name, recipe in plain.runs.items()
    }
    assert "plugins" not in next(iter(plain.runs.values())).model_dump(mode="json")


def test_another_text_is_another_recipe_and_another_key(write: Write) -> None:
    name = "digits/symmetric-0.5/plain/baseline/seed0"
    found = []
    for text in (network(), network() + "\n# a remark\n", network()):
        recipe = study(write(text), networks={"plain": {}}).runs[name]
        found.append((recipe.digest, recipe.key({})))

    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_a_recipe_is_read_with_the_copy_that_lies_beside_it(write: Write, tmp_path: Path) -> None:
    recipe = study(write(network()), networks={"plain": {}}).runs["digits/symmetric-0.5/plain/baseline/seed0"]
    path = recipe.write(tmp_path / "recipes")
    activate([])

    assert read_recipe(path, TrainRecipe) == recipe
    (copied,) = path.parent.glob("*.py")
    assert copied.name == f"mine-{recipe.plugins[0]}.py"
    assert copied.read_bytes() == (tmp_path / "mine.py").read_bytes()


def test_two_studies_may_give_one_name_to_different_things(write: Write) -> None:
    first = study(write(network(width=8), "first.py"), networks={"plain": {}})
    second = study(write(network(width=12), "second.py"), networks={"plain": {}})

    name = "digits/symmetric-0.5/plain/baseline/seed0"
    assert first.runs[name].plugins != second.runs[name].plugins
    assert LAYOUTS["plain"].width == 12


def test_plugins_that_register_one_name_are_both_named(write: Write) -> None:
    first, second = write(network(), "first.py"), write(network(width=9), "second.py")

    with pytest.raises(CollabpipeError) as told:
        study(first, second)

    assert str(told.value).startswith(f"{second}:3: network 'plain' is registered in {first}:3 already.")


FIRST = "from collabpipe import plugin\n"
WRONG = {
    "no Python": ("def (:\n", 1, "is no valid Python"),
    "an error": ("import os\n\nos.no_such_thing\n", 3, "AttributeError: module 'os' has no attribute"),
    "an exit": ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
    "a missing library": ("import no_such_library\n", 1, "ModuleNotFoundError: No module named 'no_such_library'"),
    "a name twice": (network() + network()[1:].replace("8", "9"), 8, "network 'plain' is registered in line 3 already"),
    "a name of the package": (network("resnet8"), 3, "network 'resnet8' is one of the package's own"),
    "a name that no file name has": (network("a/b"), 3, "network 'a/b' is not allowed"),
    "torch at the top": ("import torch\n", 1, "imports torch when the file is loaded"),
    "a part of torch": ("from torch import nn\n", 1, "Move the import into the function"),
    "torch in a class": ("class A:\n    from torch import nn\n", 2, "imports torch"),
    "the package's own torch side": ("from collabpipe.model.networks import Stage\n", 1, "imports collabpipe.model"),
    "numpy's global generator": (
        "import numpy as np\n\ndef f():\n    return np.random.rand(3)\n",
        4,
        "global randomness",
    ),
    "numpy's generator without a seed": (
        "from numpy.random import default_rng\nG = default_rng()\n",
        2,
        "default_rng(0)",
    ),
    "Python's global generator": ("from random import shuffle\nshuffle([1])\n", 2, "shuffle draws from global"),
    "seeding": ("def f():\n    import torch\n    torch.manual_seed(0)\n", 3, "Leave it out"),
    "torch's global generator": (
        "def f():\n    import torch\n    return torch.randn(3)\n",
        3,
        "generator=step.generator",
    ),
    "a term without a loss": (
        FIRST + "@plugin.term\nclass T(plugin.OwnTerm):\n    term: str = 't'\n",
        2,
        "give it loss(self, step)",
    ),
    "a kind without a name": (
        FIRST + "@plugin.kind\nclass K(plugin.WithPasses):\n    def compose(self, a, b): pass\n",
        2,
        "needs a name",
    ),
    "a kind that composes nothing": (FIRST + "@plugin.kind\nclass K(plugin.Kind):\n    pass\n", 2, "give it compose"),
    "a null byte": ("x = '\0'\n", None, "is no valid Python"),
    "a tensor that draws": ("def f(p):\n    return p.bernoulli()\n", 2, "generator=step.generator"),
    "a layout of two lengths": (
        network().replace("strides=(1, 2)", "strides=(1,)"),
        3,
        "its layout has 2 channels and 1 strides",
    ),
    "dropout": ("def f():\n    from torch import nn\n    return nn.Dropout(0.5)\n", 3, "keys drop and channel_drop"),
    "a noise without its name": (FIRST + "\n@plugin.noise\ndef f(a, b, c): pass\n", 3, '@plugin.noise("NAME")'),
    "a network without its name": (FIRST + "\n@plugin.network\ndef f(a, b, c): pass\n", 3, '@plugin.network("NAME", '),
    "a network without its layout": (
        FIRST + "@plugin.network('a')\ndef f(a, b, c): pass\n",
        2,
        '@plugin.network("NAME", plugin.Layout(...))',
    ),
    "a source without its name": (FIRST + "\n@plugin.source\ndef f(a, b): pass\n", 3, '@plugin.source("NAME", '),
    "parentheses without a name": (FIRST + "@plugin.noise()\ndef f(a, b, c): pass\n", 2, '@plugin.noise("NAME")'),
    "a term with parentheses": (FIRST + "@plugin.term()\nclass T: pass\n", 2, "@plugin.term, without parentheses"),
    "a kind with a name": (FIRST + "@plugin.kind('k')\nclass K: pass\n", 2, "@plugin.kind, without parentheses"),
    "weights drawn in place": ("def f(w):\n    w.data.normal_(0, 1)\n", 2, "initial weights are drawn for you"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_plugin_is_told_with_its_line(name: str, write: Write) -> None:
    text, line, words = WRONG[name]
    path = write(text)

    with pytest.raises(CollabpipeError) as told:
        study(path)

    assert str(told.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert words in str(told.value)
    # Nothing of it is left behind.
    assert dict.keys(LAYOUTS) == LAYOUTS.own


RIGHT = """
from __future__ import annotations
from random import Random
from typing import TYPE_CHECKING
import numpy as np
from numpy.random import Generator
if TYPE_CHECKING:
    import torch

LOCAL, OTHER = np.random.default_rng(3), Random(3)

def f(step, generator: Generator) -> torch.Tensor:
    import torch
    generator.normal(size=3)
    OTHER.shuffle([1, 2])
    return torch.rand(3, generator=step.generator) + torch.empty(3).uniform_(generator=step.generator)
"""


def test_local_generators_and_torch_within_functions_are_fine(write: Write) -> None:
    assert load(write(RIGHT)).entries == []


def test_a_function_that_draws_globally_in_a_way_that_no_text_shows_is_refused_at_work(write: Write) -> None:
    text = FIRST + (
        "import numpy\n@plugin.noise('sly')\ndef sly(clean, noise, generator):\n"
        "    getattr(numpy, 'random').rand()\n    return clean.labels.copy()\n"
    )
    path = write(text)
    study(path, noise=["sly-0.5"])
    clean = Clean(np.zeros(4, np.int64), 2, np.zeros((4, 1, 2, 2), np.uint8), np.arange(4))
    draw = NOISES["sly"].draw
    assert draw is not None

    with pytest.raises(CollabpipeError, match=rf"{path}:3: sly draws from global randomness"):
        draw(clean, NoiseSettings(kind="sly", rate=0.5), np.random.default_rng(0))


def test_a_noise_that_imports_torch_and_draws_from_it_is_refused(tmp_path: Path) -> None:
    # In a process of its own, where torch is imported within the noise.
    (tmp_path / "mine.py").write_text(
        FIRST + "@plugin.noise('sly')\ndef sly(clean, noise, generator):\n    import torch\n"
        "    DRAW\n    return clean.labels.copy()\n"
    )
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom collabpipe.catalogue.noises import NOISES\n"
        "from collabpipe.common.plugins import activate, load\nfrom collabpipe.data.noise import Clean\n"
        "activate([load(Path('mine.py'))])\nassert 'torch' not in sys.modules\n"
        "NOISES['sly'].draw(Clean(np.zeros(4, np.int64), 2, None, np.arange(4)), None, np.random.default_rng(0))\n"
    )
    for draw, refused in (("torch.zeros(3)", False), ("chances = torch.ones(3); chances.multinomial(1)", True)):
        text = (tmp_path / "mine.py").read_text()
        (tmp_path / "mine.py").write_text(text.replace("DRAW", draw))
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        (tmp_path / "mine.py").write_text(text)
        assert ended.returncode == refused, ended.stderr
        assert ("mine.py:2: sly draws from global randomness" in ended.stderr) == refused


def test_labels_that_fit_no_image_are_refused(write: Write) -> None:
    path = write(FIRST + "@plugin.noise('short')\ndef short(clean, noise, generator):\n    return clean.labels[1:]\n")
    study(path, noise=["short-0.5"])
    clean = Clean(np.zeros(4, np.int64), 2, np.zeros((4, 1, 2, 2), np.uint8), np.arange(4))
    draw = NOISES["short"].draw
    assert draw is not None

    with pytest.raises(CollabpipeError, match=rf"{path}:2: noise 'short' must return a label for each of 4 images"):
        draw(clean, NoiseSettings(kind="short", rate=0.5), np.random.default_rng(0))


def test_a_network_without_the_stages_of_its_layout_is_refused(write: Write) -> None:
    path = write(network("stageless"))
    study(path, networks={"stageless": {}})
    build = LAYOUTS["stageless"].build
    assert build is not None

    with pytest.raises(CollabpipeError, match=rf"{path}:3: .*stages stage1, stage2, .*returned: none, but a NoneType"):
        build(8, 1, 2)


@pytest.mark.parametrize("error", ["ValueError", "TypeError", "KeyError"])
def test_a_method_that_fails_while_planning_is_told_with_its_line(error: str, write: Write) -> None:
    path = write(
        FIRST + "from typing import Literal\n@plugin.kind\nclass Bad(plugin.Kind):\n    kind: Literal['bad'] = 'bad'\n"
        f"    def compose(self, stages, resolve):\n        raise {error}('oh')\n"
    )

    with pytest.raises(CollabpipeError, match=rf"{path}:7: {error}: '?oh"):
        study(path, methods={"bad": {}})


def test_a_method_that_returns_no_composition_is_told_with_its_line(write: Write) -> None:
    path = write(
        FIRST + "from typing import Literal\n@plugin.kind\nclass Bad(plugin.Kind):\n    kind: Literal['bad'] = 'bad'\n"
        "    def compose(self, stages, resolve):\n        plugin.Composition()\n"
    )

    with pytest.raises(CollabpipeError, match=rf"{path}:6: .*'bad' returned a NoneType. Return a plugin.Composition"):
        study(path, methods={"bad": {}})


def test_the_keys_of_a_plugins_method_are_checked_as_any(write: Write) -> None:
    path = write(
        FIRST + "from typing import Literal\n@plugin.kind\nclass Mine(plugin.WithPasses):\n"
        "    kind: Literal['mine'] = 'mine'\n    share: plugin.Fraction = 0.5\n"
        "    def compose(self, stages, resolve):\n        return plugin.Composition(passes=self.passes())\n"
    )

    with pytest.raises(CollabpipeError, match=r"methods\.mine\.shar: unknown key.*Did you mean 'share'"):
        study(path, methods={"mine": {"shar": 1}})
    with pytest.raises(CollabpipeError, match=r"methods\.mine\.share"):
        study(path, methods={"mine": {"share": 1.5}})


def test_a_plugins_method_is_searched_as_any(write: Write) -> None:
    path = write(
        FIRST + "from typing import Literal\n@plugin.kind\nclass Sought(plugin.WithPasses):\n"
        "    kind: Literal['sought'] = 'sought'\n    share: plugin.Fraction = 0.5\n"
        "    def compose(self, stages, resolve):\n"
        "        return plugin.Composition(label=plugin.Label(smoothing=self.share))\n"
    )
    made = study(path, methods={"sought": {"share": [0.1, 0.2], "select": {"seeds": [9]}}})

    # What is chosen is composed by the plugin, in the job that trains with it.
    waiting = [recipe for recipe in made.runs.values() if recipe.run.method == "sought"]
    digest = load(path).digest
    assert {recipe.plugins for recipe in waiting} == {(digest,)}
    assert {recipe.plugins for recipe in made.selections.values()} == {(digest,)}
    # A candidate's composition is written out.
    found = sorted((recipe.composition.label.smoothing, recipe.plugins) for recipe in made.candidates.values())
    assert found == [(0.1, ()), (0.2, ())]


def test_a_file_that_is_not_there_is_told_at_its_key(tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text("study: s\nplugins:\n  - mine.py\n")

    with pytest.raises(CollabpipeError, match=rf"{config}:3: plugins.0: {tmp_path / 'mine.py'} is no file"):
        Plan.from_files([config], tmp_path / "results")


@pytest.mark.parametrize(("value", "words"), [("mine.py", "give a list"), ([3], "valid string")])
def test_plugins_are_a_list_of_paths(value: object, words: str) -> None:
    with pytest.raises(CollabpipeError, match=words):
        check_settings(SMALL | {"plugins": value}, {})


def test_a_plugin_is_named_once(write: Write) -> None:
    path = write(network())

    with pytest.raises(CollabpipeError, match="is named twice"):
        study(path, path)


def test_nothing_is_registered_from_outside_of_a_plugin() -> None:
    with pytest.raises(CollabpipeError, match="only a file under plugins"):
        add_entry(LAYOUTS, "plain", api.Layout(8, (1,), (1,)))
