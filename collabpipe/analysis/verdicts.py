"""The paper's claims judged on a study's evaluated runs: a verdict for each claim, place and reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collabpipe.analysis.evidence import Evidence
from collabpipe.analysis.formats import number, with_interval
from collabpipe.analysis.intervals import holm, intersection_union, simultaneous
from collabpipe.analysis.pairs import NAN, Criterion, Pair, weakest
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import write_json, write_text
from collabpipe.plan.paths import CLAIMS_CSV, CLAIMS_JSON, CLAIMS_MD, Paths
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.settings.claims import Claim, Claims

COLUMNS = [
    "claim", "source", "comparison", "reading", "expected", "estimate", "low", "high", "p_adjusted", "n", "diverged",
    "verdict", "reason", "verdict_baseline", "verdict_control", "control", "verdict_rival", "rival", "survives", "runs",
]  # fmt: skip


def assess(
    claims: Claims, study: StudyRecipe, runs: Sequence[EvaluatedRun], overhead: pd.DataFrame | None, paths: Paths
) -> list[dict[str, Any]]:
    """A row for each claim, place and reading, each followed by its members; the columns and what backs them."""
    evidence = Evidence(study, runs, overhead, paths)
    return [row for family, stated in claims.families.items() for row in _judge_family(family, stated, evidence)]


def _judge_family(family: str, stated: Sequence[Claim], evidence: Evidence) -> Iterator[dict[str, Any]]:
    """The rows of the claims that are corrected together."""
    tested = [claim for claim in stated if claim.metric != "overhead"]
    confidence = simultaneous(len(tested))
    on = {claim.name: evidence.on(claim.test_set) for claim in stated}
    declared = {c.name: _p(_pairs(c, c.places[0], c.readings[0], on[c.name], confidence)) for c in tested}
    for claim in stated:
        for place in claim.places:
            for reading in claim.readings:
                pairs = _pairs(claim, place, reading, on[claim.name], confidence)
                ratio = claim.metric == "overhead"
                role = "other place" if place != claim.places[0] else "other reading"
                if (place, reading) == (claim.places[0], claim.readings[0]):
                    role = "declared"
                p = _p(pairs)
                # Another reading replaces the declared one in the correction, so each claim counts as one contrast.
                adjusted = NAN if ratio else holm({**declared, claim.name: p})[claim.name]
                groups = [(role, pairs, p, adjusted)]
                if len(pairs) > 1:
                    groups += [("descriptive", [pair], pair.p, NAN) for pair in pairs]
                for role, group, p, adjusted in groups:
                    yield {
                        **_row(claim, place, reading, group, on[claim.name], confidence),
                        "claim": f"{claim.name} (analogue: {family})" if family else claim.name,
                        "reading": claim.in_words(reading) + ("" if role == "declared" else f" ({role})"),
                        "p_adjusted": adjusted,
                        "family": family,
                        "role": role,
                        "p": p,
                        "confidence": confidence,
                    }


def _pairs(claim: Claim, place: str, reading: str, evidence: Evidence, confidence: float) -> list[Pair]:
    return [evidence.pair(claim.metric, reading, place, *member, confidence) for member in claim.members]


def _p(pairs: Sequence[Pair]) -> float:
    return pairs[0].p if len(pairs) == 1 else intersection_union([(pair.p, pair.estimate) for pair in pairs])


def _row(
    claim: Claim, place: str, reading: str, pairs: Sequence[Pair], evidence: Evidence, confidence: float
) -> dict[str, Any]:
    """What the weakest of the pairs says."""
    criterion = Criterion(claim.expected or 0.0, claim.margin or 0.0, ratio=claim.metric == "overhead")
    pair = weakest(pairs, criterion)
    judged, reason = pair.judge(criterion)
    methods = list(dict.fromkeys(each.method for each in pairs))
    on = f" on {claim.test_set}" if claim.test_set else ""
    last = reading.startswith("last")  # predictions are kept of the last epoch
    error, bootstrap = evidence.spread(place, pair) if last else (NAN, (NAN, NAN))
    left = evidence.compared(claim, reading, place, methods, confidence)
    survives = [comparator for comparator, (word, _) in left.items() if word == "survives"]
    return {
        "source": claim.source,
        "comparison": _comparison(pairs, pair, f"{place}{on}", "/" if criterion.ratio else "-"),
        "expected": claim.expects,
        "estimate": pair.estimate,
        "low": pair.low,
        "high": pair.high,
        "n": pair.n,
        "diverged": pair.divergence,
        "verdict": judged,
        "reason": reason,
        **{f"verdict_{comparator}": word for comparator, (word, _) in left.items()},
        "control": left["control"][1],
        "rival": left["rival"][1],
        "survives": ", ".join(survives) or ("none" if pair.n and not criterion.ratio else ""),
        "runs": pair.runs and f"{pair.runs}{on}",
        "differences": pair.differences,
        "sampling_error": error,
        "bootstrap": bootstrap,
    }


def _comparison(pairs: Sequence[Pair], decisive: Pair, place: str, sign: str) -> str:
    sides = []
    for names in ([pair.method for pair in pairs], [pair.other for pair in pairs]):
        different = list(dict.fromkeys(names))
        sides.append(f"{'each of ' if len(different) > 1 else ''}{', '.join(different)}")
    text = f"{sides[0]} {sign} {sides[1]}, {place}"
    if len(pairs) == 1 or not any(pair.n for pair in pairs):
        return text
    return f"{text}; {'weakest' if decisive.n else 'not run'}: {decisive.method} {sign} {decisive.other}"


NOTE = """\
Estimates are means over n paired replicates, in the unit of the reading and in favour of the first method; for overhead
they are ratios. Intervals hold together for the declared contrasts of a family (Bonferroni); p is Holm's over the same
contrasts, and another reading or place is put in its claim's stead. A contrast over several methods is decided by the
member with the worst verdict, whose estimate is shown; its p is the largest of all members'. n below 5 is a
demonstration, below 10 descriptive; a claim needs 10.

A diverged run counts as the accuracy that the claims' file declares (chance, unless it says otherwise), and *diverged*
says how many did. It makes no verdict better: where the finished pairs alone give a worse one, that one stands.

Beside them, in points of accuracy at the last epoch, each on its own: the standard error that the finite test set alone
brings, and a 95% bootstrap interval over replicates and test images.

*reproduced*: the interval lies above zero and contains or exceeds the claim. *direction only*: above zero, its upper
limit below the claim. *not reproduced*: below zero, or it contains zero and ends below the claim (the margin, where no
number is claimed). *no effect*: two one-sided tests show that the difference is smaller than the margin.
*inconclusive*: it contains zero and the claim, or there is none: one replicate, or differences that spread less than
the test set can show. *not run*: nothing to compare.

Each method is also held against three comparators, judged against zero: the *baseline*, its matched *control* (the same
passes and dropout without the collaboration; where it also has a control with rates of its own, the worse verdict
stands) and the *rival*, the method of one pass without collaboration that the claims' file names (of several the one
that is best on validation images). *survives* lists those that the gain is left against.

An analogue asks the same of a study that is not the paper's: it can support or weaken a claim, not settle it. The
losses are this project's operationalisation of the paper's words (docs/methods.md); docs/claims.md explains the rest.
"""


def write_claims(
    claims: Claims | None,
    study: StudyRecipe,
    runs: Sequence[EvaluatedRun],
    overhead: pd.DataFrame | None,
    paths: Paths,
    folder: Path | None = None,
) -> None:
    """Write claims.csv, claims.md and claims.json into `folder` (None: the tables'); without claims they say so.

    Raises:
        CollabpipeError: predictions that cannot be read, or a folder that cannot be written.
    """
    folder = folder or paths.tables
    rows = assess(claims, study, runs, overhead, paths) if claims else []
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_text(folder / CLAIMS_CSV, table.to_csv(index=False, float_format="%.6g"))
    write_text(folder / CLAIMS_MD, _markdown(claims, study, rows))
    about = {"study": study.study, "claims": claims.model_dump(mode="json") if claims else None, "rows": _plain(rows)}
    write_json(folder / CLAIMS_JSON, about)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: nan and infinity become None."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _markdown(claims: Claims | None, study: StudyRecipe, rows: Sequence[dict[str, Any]]) -> str:
    parts = [f"# The paper's claims on study {study.study}"]
    if not claims:
        return f"{parts[0]}\n\nThis study states no claims: its configuration has no key `claims`.\n"
    parts += ["\n".join(f"- **{c.name}** ({c.source}): {c.says}" for c in claims.claims)]
    for family in claims.families:
        found = [row for row in rows if row["family"] == family and row["role"] != "descriptive"]
        parts += [f"## {f'Analogues: {family}' if family else 'Declared places'}"]
        parts += [f"Each interval has {100 * found[0]['confidence']:.3g}% confidence.", *_shown(found)]
    members = [row for row in rows if row["role"] == "descriptive"]
    parts += ["## Descriptive: members of contrasts over several methods", *_shown(members)]
    return "\n\n".join([*parts, "## How to read this", NOTE])


def _shown(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows for reading: an estimate with its interval in one cell, n with its weight; what was not run in one line."""
    shown = [
        {
            "claim": row["claim"],
            "comparison": row["comparison"],
            "reading": row["reading"],
            "expected": row["expected"],
            "estimate": with_interval(
                row["estimate"], row["low"], row["high"], ".2f" if "<" in row["expected"] else "+.2f"
            ),
            "p (Holm)": number(row["p_adjusted"], ".2g"),
            "n": _weighed(row),
            "test set ±": number(row["sampling_error"]),
            "bootstrap": with_interval(NAN, *row["bootstrap"]),
            "diverged": row["diverged"],
            "verdict": row["verdict"] + (f" ({row['reason']})" if row["reason"] else ""),
            "to the baseline": row["verdict_baseline"],
            "to the control": _named(row, "control"),
            "to the rival": _named(row, "rival"),
            "survives": row["survives"],
        }
        for row in rows
        if row["n"]
    ]
    missing = Counter(row["claim"] for row in rows if not row["n"])
    rest = ", ".join(f"{claim} ({number})" for claim, number in missing.items())
    text = [pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)] if shown else []
    return text + ([f"Not run, rows of claims.csv: {rest}."] if rest else [])


def _named(row: dict[str, Any], comparator: str) -> str:
    """What is left against a comparator, and which one that is."""
    word = str(row[f"verdict_{comparator}"])
    return f"{word} ({row[comparator]})" if row[comparator] else word


def _weighed(row: dict[str, Any]) -> str:
    if row["n"] == 0 or "<" in row["expected"]:
        return ""
    return f"{row['n']} ({'demonstration' if row['n'] < 5 else 'descriptive' if row['n'] < 10 else 'claim'})"
