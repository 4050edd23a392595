"""From finished trials to tables.

score.py          the number of a cell under a Reading
statistics.py     the interval of a mean, aggregates, ranks and the probability of improvement, of arrays
power.py          how many seeds tell two rows apart
comparison.py     cells with intervals, rows beside rows, readings beside readings
aggregates.py     the complete rows of a table over its columns
grids.py          pivots and curves along a table's axes
asked.py          returns asked for and got
online_budget.py  the score that episodes buy when they are spent on choosing a policy
episodes.py       the episodes behind a table, read where they are asked for
evaluations.py    all evaluations of a table as rows: scores.csv
kept.py           runs.jsonl.gz: the whole results behind a report
sources.py        where results are read from: DMM_HOME, a kept report, MLflow
rebuilding.py     a kept report made again and compared
compare.py        two tables, or two states of one, cell by cell
content.py        the content of a report: cells, numbers, differences, aggregates
notes.py          what is said around the numbers
document.py       the page of a report without a format
sections.py       the sections of the page
markdown.py       table.md
latex.py          table.tex
html.py           report.html, with the template report.html.j2
trial_views.py    the trials of a cell, as report.html shows them
inline_svg.py     figures and small curves inside of HTML
origins.py        provenance
cost.py           what trials cost: cost.csv, and the means of each cell
plots.py          the figures of a report, as PNG and SVG
figures/          one file for each figure
report.py         the files of a report: CSV, manifest and the others
parameters.py     the parameters of a table's models, before training
"""
