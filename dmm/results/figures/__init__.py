"""The figures of a report. One file makes one figure, as a stack of blocks of panels.

style.py       colours, sizes and what all figures share; it stacks blocks in a figure
lines.py       a block of lines: all rows in one panel, or small multiples
heat_maps.py   a block of heat maps
scores.py      one dot a seed, the mean with its interval, published numbers
curves.py      score over updates
grid.py        score along the axes of a grid
budget.py      score against what is spent on choosing a policy
asked.py       return got against return asked for
efficiency.py  score against parameters
"""
