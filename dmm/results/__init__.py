"""From finished trials to tables.

score.py       the number of a cell under a Reading
statistics.py  the interquartile mean and bootstrap intervals
parameters.py  the parameters of a table's models, before training
report.py      the files of a table: CSV, manifest and the two below
markdown.py    table.md
plots.py       curves.png
"""
