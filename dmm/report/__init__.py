"""The report of a table. One page without a format is made of the results, and each format shows it.

content.py      cells, numbers, differences, aggregates: computed once, when they are first asked for
notes.py        what is said around the numbers: protocol, readings, departures, missing trials
document.py     the parts of a page: sections, tables, lists, pictures
sections.py     the sections of the page, from the content
markdown.py     table.md
latex.py        table.tex
html.py         report.html
report.html.j2  its template
trial_views.py  the trials of a cell, as report.html shows them
inline_svg.py   figures and small curves inside of HTML
origins.py      provenance
cost.py         what trials cost: cost.csv, and the means of each cell
plots.py        the figures as PNG and SVG
figures/        one file for each figure
files.py        all files of a report, table.csv and manifest.json among them
rebuilding.py   a kept report made again and compared
"""
