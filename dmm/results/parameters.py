"""Parameters of the models of a table, counted before any training: no data and no DMM_HOME are needed."""

from dmm.catalogue import ParameterCount
from dmm.config import Table, Trial
from dmm.models import count_parameters
from dmm.training.fit import init_model


def parameter_counts(table: Table) -> dict[tuple[str, str], ParameterCount]:
    """The parameters of each row on each column, by their labels. Cited rows have no model."""
    counts: dict[tuple, ParameterCount] = {}
    found = {}
    for row in table.rows:
        for column in table.columns:
            if row.cited:
                continue
            trial = table.trial(row, column, table.seeds[0])
            model = trial.arch, trial.source, trial.overrides, trial.task.spaces, trial.training.context_length
            if model not in counts:
                counts[model] = count(trial)
            found[row.label, column.label] = counts[model]
    return found


def count(trial: Trial) -> ParameterCount:
    """The parameters of one trial's model."""
    model = init_model(trial)
    return ParameterCount(count_parameters(model), model.live_parameters())
