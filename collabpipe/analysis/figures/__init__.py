"""The figures of a study: one module per figure, named as in `plan/figures.py`, where all of them are listed.

All are drawn from tables, histories and predictions (`material`), in one style (`style`), as SVG and as PNG.
"""
