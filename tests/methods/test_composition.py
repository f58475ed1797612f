"""What does not fit a network is said in one way, whichever term found it."""

from __future__ import annotations

from collabpipe.methods.composition import Branches, Composition, OwnTerm, Passes, Problem, problem

STAGES = ("stage1", "stage2")


class Early(OwnTerm):
    """A term as a plugin may bring it: what does not fit is a plain tuple."""

    term: str = "early"

    def problem(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
        return ("split", "classifier", stages) if isinstance(passes, Passes) else None  # type: ignore[return-value]


def test_a_plain_tuple_of_a_plugin_is_said_as_any_other_problem() -> None:
    found = problem(Composition(terms=(Early(weight=1.0),)), STAGES)

    assert found is not None
    wrong = found.wrong("resnet8", ("methods", "mine", found.key))
    assert str(wrong) == "split for network resnet8 'classifier' is not allowed. Allowed: stage1, stage2."
    assert wrong.place == ("methods", "mine", "split")
    assert problem(Composition(), STAGES) is None
