"""Each method's matched control: the same network, passes and settings, without the method's loss terms."""

from __future__ import annotations

from collections.abc import Mapping

from collabpipe.methods.composition import Composition
from collabpipe.methods.derived import Control
from collabpipe.methods.resolve import Variants, candidate, involved, own_training
from collabpipe.methods.search import Searched
from collabpipe.plan.composed import Compositions
from collabpipe.settings.study import Settings


def matched_controls(settings: Settings, variants: Variants, compositions: Compositions) -> dict[str, str]:
    """By `NETWORK/METHOD`, the control that is named for the method, or a method that is composed like it."""
    named = {k.control_of: name for name, k in settings.methods.items() if isinstance(k, Control) and k.is_plain}
    controls = {}
    # All else of a composition is equal on every data set.
    dataset = next(iter(settings.datasets))
    for network in settings.networks:
        composed = {name: compositions[dataset, network, name] for name in variants}
        for name, kind in settings.methods.items():
            match = named.get(name) or _composed_like_control(settings, variants, composed, name)
            if match and not isinstance(candidate(kind), Control):
                controls[f"{network}/{name}"] = match
    return controls


def _composed_like_control(
    settings: Settings, variants: Variants, composed: Mapping[str, Composition], name: str
) -> str | None:
    """A method that is the control of `name` whatever is chosen; None for one that is its own: it has none."""
    if any(_waits(settings, other) for other in involved(settings.methods, name)[1:]):
        return None
    # A method's own entry is its first candidate.
    trained = {n: own_training(methods, method) for n, (method, methods) in variants.items()}
    control, training = composed[name].control(), trained[name]
    own = [n for n, (method, _) in variants.items() if method == name]
    if any((composed[n].control(), trained[n]) != (control, training) for n in own) or composed[name] == control:
        return None
    fixed = [n for n in settings.methods if not _waits(settings, n)]
    return next((n for n in fixed if (composed[n], trained[n]) == (control, training)), None)


def _waits(settings: Settings, name: str) -> bool:
    return any(isinstance(settings.methods[n], Searched) for n in involved(settings.methods, name))
