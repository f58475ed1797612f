"""The pictures of the pages' mermaid diagrams: `python docs/diagrams.py MERMAID_JS` draws those that are missing.

GitHub draws mermaid itself. For the site each diagram has a picture in docs/site/diagrams, which is named after the
digest of the diagram's text; so a picture belongs to one text. To draw needs chromium, chromedriver and mermaid's
script: `npm install mermaid` in a folder elsewhere puts it at node_modules/mermaid/dist/mermaid.min.js.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURES = REPOSITORY / "docs" / "site" / "diagrams"
PAGES = (REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md")))
FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)
# Text, as a picture shows no HTML; a font that every system has in some form; labels that cover their arrow.
SETTINGS = """{
startOnLoad: false, htmlLabels: false, flowchart: {htmlLabels: false, rankSpacing: 32}, fontFamily: 'sans-serif',
themeVariables: {edgeLabelBackground: 'white'}, themeCSS: '.edgeLabel rect, .edgeLabel .background { opacity: 1 }'}"""
LOAD = "document.head.append(Object.assign(document.createElement('script'), {text: arguments[0]}))"
DRAW = f"""
const [text, id, done] = arguments;
mermaid.initialize({SETTINGS});
mermaid.render(id, text).then(drawn => done(drawn.svg), error => done(String(error)));
"""


def picture(text: str) -> Path:
    """Where the picture of a diagram is."""
    return PICTURES / f"{hashlib.sha256(text.strip().encode()).hexdigest()[:16]}.svg"


def described(text: str) -> str:
    """What a diagram says of itself, for readers who do not see it: its `accDescr`, else nothing."""
    found = re.search(r"^ *accDescr: *(.+)$", text, re.M)
    return found[1] if found else ""


def diagrams() -> list[str]:
    """The texts of all diagrams in the pages."""
    return [text for page in PAGES for text in FENCE.findall(page.read_text(encoding="utf-8"))]


def draw(script: Path, texts: list[str]) -> None:
    """Draw the diagrams, with mermaid's script in a headless browser."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1280,900"):
        options.add_argument(argument)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        driver.execute_script(LOAD, script.read_text(encoding="utf-8"))
        for text in texts:
            drawn = driver.execute_async_script(DRAW, text, f"d{picture(text).stem}")
            if not drawn.startswith("<svg"):
                raise SystemExit(f"mermaid cannot draw this:\n{text}\n{drawn}")
            picture(text).write_text(drawn + "\n", encoding="utf-8")
            print(picture(text))
    finally:
        driver.quit()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        raise SystemExit("usage: python docs/diagrams.py MERMAID_JS, mermaid's script mermaid.min.js")
    PICTURES.mkdir(exist_ok=True)
    wanted = {picture(text): text for text in diagrams()}
    draw(Path(sys.argv[1]), [text for path, text in wanted.items() if not path.exists()])
    for path in set(PICTURES.glob("*.svg")) - wanted.keys():
        path.unlink()
