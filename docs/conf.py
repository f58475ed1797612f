"""How Sphinx builds the documentation site: `make docs`. Pages load nothing from another host."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).parent))
from diagrams import described, picture

LOG = getLogger(__name__)

project = "collabpipe"
extensions = ["myst_parser"]

# The source folder is the repository, so that pages link to the files beside them as they do in the repository.
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "config/README.md", "docs/**.md"]
html_extra_path = ["site/index.html"]

myst_enable_extensions = ["dollarmath"]
# Fences as GitHub writes them.
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

smartquotes = False  # options keep their two dashes

html_theme = "furo"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_title = "collabpipe"
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"


def write_math(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Put a formula into the page as MathML, which needs no script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def put_pictures(app: Sphinx, page: nodes.document) -> None:
    """Put a picture in place of each mermaid diagram: to draw them takes megabytes of script."""
    for block in [block for block in page.findall(nodes.literal_block) if block.get("language") == "mermaid"]:
        path = picture(block.rawsource)
        if path.is_file():
            uri = f"/{path.relative_to(app.srcdir)}"
            block.replace_self(nodes.image(uri=uri, alt=described(block.rawsource), classes=["diagram"]))
        else:
            LOG.warning("a diagram has no picture: make it with docs/diagrams.py", location=block)


def setup(app: Sphinx) -> None:
    """Tell Sphinx how formulas and diagrams are written."""
    app.connect("doctree-read", put_pictures, priority=400)  # before Sphinx collects the pictures
    app.add_html_math_renderer("mathml", inline_renderers=(write_math, None), block_renderers=(write_math, None))
