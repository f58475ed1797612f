"""The page's parts put together: nothing on it is loaded from elsewhere, and nothing on it may be."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
VENDOR = HERE / "vendor" / "datatables"
SCRIPTS = (VENDOR / "dataTables.min.js", HERE / "page.js")
STYLES = (VENDOR / "dataTables.dataTables.min.css", HERE / "page.css")


def render(about: Mapping[str, Any], runs: Mapping[str, Any]) -> str:
    """The page's HTML.

    Args:
        about: what the template shows; all texts are escaped.
        runs: what the script shows on demand.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"run_link": run_link, "image": image}
    scripts = [script.read_text(encoding="utf-8") for script in SCRIPTS]
    styles = [style.read_text(encoding="utf-8").removeprefix('@charset "UTF-8";') for style in STYLES]
    return environment.get_template("page.html.jinja").render(
        about,
        policy=policy(scripts),
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - files of this package
        styles=[Markup(style) for style in styles],  # noqa: S704 - files of this package
        licence=(VENDOR / "License.txt").read_text(encoding="utf-8"),
        runs=Markup(json_for_html(runs)),  # noqa: S704 - holds no character that ends the element
    )


def policy(scripts: list[str]) -> str:
    """A Content-Security-Policy: these scripts alone run, and nothing is fetched."""
    sums = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def json_for_html(value: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def run_link(name: str) -> str:
    """The link within the page to a run's view."""
    return f"#run/{quote(name)}"


def image(path: Path) -> str:
    """An SVG file as the address of an image."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
