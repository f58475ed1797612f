"""The claims that a study declares, checked against its methods before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collabpipe.common.errors import CollabpipeError, nearest
from collabpipe.methods.composition import Composition
from collabpipe.settings.claims import Claim, Claims, load_claims
from collabpipe.settings.study import Settings


def declared_claims(settings: Settings, compositions: Mapping[str, Composition]) -> Claims | None:
    """The claims to judge; None for a study without any.

    Args:
        settings: the study.
        compositions: what each method asks of a training, by its name.

    Raises:
        CollabpipeError: a rival is a method of the study that runs several passes or has a term; a claim is declared at
            the best epoch of a data set whose runs use refit, or on a test set that its data set's test_on lacks.
    """
    if not settings.claims:
        return None
    claims = load_claims(Path(settings.claims))
    plain = [name for name, one in compositions.items() if one.passes.heads == 1 and not one.terms]
    for name in sorted(claims.rivals & (compositions.keys() - set(plain))):
        raise CollabpipeError(
            f"{settings.claims}: rival: method {name!r} is not allowed: it has several passes or a term "
            f"beside the label's loss. Allowed: {', '.join(plain) or 'no method of this study'}."
        )
    for claim in (one for stated in claims.families.values() for one in stated):
        _check_test_set(claim, settings)
        dataset, reading = claim.places[0].split("/")[0], claim.readings[0]
        if reading.startswith("best") and dataset in settings.datasets and settings.refits(dataset):
            raise CollabpipeError(
                f"{settings.claims}: claims.{claim.name}.readings: the declared (first) reading {reading!r} is not "
                f"allowed for data set {dataset}: its runs use refit, so they train on the validation images and no "
                "epoch is chosen. Allowed: a first reading at the last epoch, or refit: false."
            )
    return claims


def _check_test_set(claim: Claim, settings: Settings) -> None:
    """A study without any further test sets may share its claims with others; there the claim is not run."""
    dataset = claim.places[0].split("/")[0]
    if claim.test_set is None or dataset not in settings.datasets or not settings.tests_further:
        return
    known = settings.datasets[dataset].test_on
    if claim.test_set not in known:
        raise CollabpipeError(
            f"{settings.claims}: claims.{claim.name}.test_set: {claim.test_set!r} is not allowed for data set "
            f"{dataset}. Allowed: {', '.join(known) or 'none'}.{nearest(claim.test_set, known)} Or name it there: "
            f"datasets.{dataset}.test_on."
        )
