"""The verdicts of the page: what was claimed, and a sentence on what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collabpipe.report.tables import Cell, ShownTable, interval, number

WEIGHT = ((5, "a demonstration"), (10, "descriptive"))
"""Below how many replicates a comparison is only that."""
LEFT = {
    "survives": "the gain is left",
    "does not survive": "the gain is not left",
    "inconclusive": "it is not certain that the gain is left",
    "no effect": "there is no gain",
}


@dataclass(frozen=True)
class Outcome:
    """What came out for a claim at one place."""

    verdict: str
    sentence: str
    comparison: str
    analogue: str
    """The name of the analogue; empty at a declared place."""


@dataclass(frozen=True)
class Claimed:
    """A claim and what came out."""

    name: str
    says: str
    source: str
    outcomes: Sequence[Outcome]


def verdicts(about: Mapping[str, Any]) -> list[Claimed]:
    """The claims of `claims.json` in their order, those that were judged first."""
    claims = (about.get("claims") or {}).get("claims", ())
    found = [Claimed(c["name"], c["says"], c["source"], _outcomes(c["name"], about["rows"])) for c in claims]
    return sorted(found, key=lambda claimed: not claimed.outcomes)


def _outcomes(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    found = []
    for family in dict.fromkeys(row["family"] for row in rows):
        of_claim = [r for r in rows if r["family"] == family and r["claim"].split(" (", 1)[0] == name]
        reading = next((_reading(row) for row in of_claim if row["role"] == "declared"), None)
        found += [
            Outcome(row["verdict"], _sentence(row), row["comparison"], family)
            for row in of_claim
            if row["n"] and row["role"] in ("declared", "other place") and _reading(row) == reading
        ]
    return found


def _reading(row: Mapping[str, Any]) -> str:
    return str(row["reading"]).split(" (", 1)[0]


def _sentence(row: Mapping[str, Any]) -> str:
    ratio = "<" in row["expected"]
    value = _estimate(row, ".2f" if ratio else "+.2f").text
    text = f"{value or 'No estimate'}{_in_brackets(row['reason'])}, {_reading(row)}"
    text += f"; expected {row['expected']}" if row["expected"] else ""
    if not ratio:
        weight = next((word for most, word in WEIGHT if row["n"] < most), "")
        text += f"; {row['n']} replicate{'s' * (row['n'] != 1)}{f', {weight}' if weight else ''}"
    if row["diverged"] not in ("", None, 0):
        text += f"; diverged: {row['diverged']}"
    for comparator, what in (("control", "matched control"), ("rival", "rival")):
        word = row[f"verdict_{comparator}"]
        if word in LEFT:
            text += f". Against the {what}{_in_brackets(row[comparator])} {LEFT[word]}"
    return f"{text}."


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _estimate(row: Mapping[str, Any], form: str) -> Cell:
    return interval(_nan(row["estimate"]), _nan(row["low"]), _nan(row["high"]), form)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def claims_table(about: Mapping[str, Any], file: str) -> ShownTable:
    """All places, readings and members that were judged."""
    rows = [
        [
            Cell(row["claim"]),
            Cell(row["comparison"]),
            Cell(row["reading"]),
            Cell(row["expected"]),
            _estimate(row, ".2f" if "<" in row["expected"] else "+.2f"),
            number(_nan(row["p_adjusted"]), ".2g"),
            number(row["n"], "d"),
            Cell(row["verdict"]),
            *(Cell(row[f"verdict_{comparator}"]) for comparator in ("baseline", "control", "rival")),
        ]
        for row in about.get("rows", ())
        if row["n"]
    ]
    columns = ["claim", "comparison", "reading", "expected", "estimate", "p (Holm)", "n", "verdict"]
    return ShownTable(
        "claims",
        "Claims: all readings and members",
        "Every place and reading that this study can judge, and the members of contrasts over several methods.",
        [*columns, "to the baseline", "to the control", "to the rival"],
        rows,
        file,
    )
