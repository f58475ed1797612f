"""The claims that a study declares, checked against its methods before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.methods.composition import Composition
from collabpipe.settings.claims import Claims, load_claims
from collabpipe.settings.study import Settings


def declared_claims(settings: Settings, compositions: Mapping[str, Composition]) -> Claims | None:
    """The claims to judge; None for a study without any.

    Args:
        settings: the study.
        compositions: what each method asks of a training, by its name.

    Raises:
        CollabpipeError: a rival is a method of the study that runs several passes or has a term; a claim is declared at
            the best epoch of a data set whose runs use refit.
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
        dataset, reading = claim.places[0].split("/")[0], claim.readings[0]
        if reading.startswith("best") and dataset in settings.datasets and settings.refits(dataset):
            raise CollabpipeError(
                f"{settings.claims}: claims.{claim.name}.readings: the declared (first) reading {reading!r} is not "
                f"allowed for data set {dataset}: its runs use refit, so they train on the validation images and no "
                "epoch is chosen. Allowed: a first reading at the last epoch, or refit: false."
            )
    return claims
