"""Experiments, and how their results are read, as frozen dataclasses.

protocol.py  Training, Evaluation and the Protocol that names one of each: how a paper runs its scripts
reading.py   Reading: how one number is read from finished evaluations
trial.py     Trial: a model that is trained and evaluated, with the ids of its weights and of its returns
table.py     Row, Column, Table: the trials of a table
budget.py    Budget: a table in a fraction of its updates
grid.py      rows along named axes
"""

from dmm.config.budget import BUDGETS as BUDGETS
from dmm.config.budget import Budget as Budget
from dmm.config.grid import grid as grid
from dmm.config.protocol import Evaluation as Evaluation
from dmm.config.protocol import Protocol as Protocol
from dmm.config.protocol import Training as Training
from dmm.config.reading import BEST as BEST
from dmm.config.reading import LAST as LAST
from dmm.config.reading import PAPER_MAX as PAPER_MAX
from dmm.config.reading import Reading as Reading
from dmm.config.table import Column as Column
from dmm.config.table import Row as Row
from dmm.config.table import Table as Table
from dmm.config.table import cell_name as cell_name
from dmm.config.trial import RESULTS_VERSION as RESULTS_VERSION
from dmm.config.trial import Trial as Trial
from dmm.config.trial import edited_code as edited_code
from dmm.tasks import Target as Target
