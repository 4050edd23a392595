"""The content of a report: the cells of a table with their numbers, differences and aggregates. It knows no format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dmm.catalogue import ParameterCount
from dmm.config import Column, Reading, Row, Table
from dmm.results.aggregates import RowAggregates, aggregate_rows, check_baseline
from dmm.results.asked import TargetReturn, target_returns
from dmm.results.comparison import (
    ColumnComparison,
    Difference,
    cell_intervals,
    compare_column,
    compare_with,
    differences,
)
from dmm.results.parameters import parameter_counts
from dmm.results.score import Cell, gather_cells, is_papers_data
from dmm.results.statistics import Interval
from dmm.schema import TrialSummary


@dataclass(frozen=True)
class Published:
    """A paper's number for a cell, and whether it can be compared with ours under a reading."""

    value: float
    std: float | None  # as printed
    reading: str  # the reading of the table that it was read by. "" if there is none
    why_not: str  # why it cannot be compared. "" if it can, with this reading


@dataclass(frozen=True, eq=False)
class ReportContent:
    """A table's cells and what a report says about them. Every number is computed when it is first asked for."""

    table: Table
    summaries: Mapping[str, TrialSummary]  # of the table's trials, by second id
    baseline: str = ""  # the label of the row that others are compared with. "" for none
    _kept: dict = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Raises what `gather_cells` raises, and ValueError for a baseline that is no row with trials."""
        check_baseline(self.table, self.baseline)
        self.cells  # noqa: B018  the errors come now

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, column by column."""
        return gather_cells(self.table, self.summaries)

    @property
    def headline(self) -> Reading:
        """The table's first reading."""
        return self.table.readings[0]

    def column(self, column: Column) -> list[Cell]:
        """The cells of a column, in the order of rows."""
        return [cell for cell in self.cells if cell.column is column]

    def row(self, row: Row) -> list[Cell]:
        """The cells of a row, in the order of columns."""
        return [cell for cell in self.cells if cell.row is row]

    def number(self, cell: Cell, reading: Reading) -> Interval:
        """A cell's number and its interval."""
        return self._keep(("numbers", reading.name), lambda: by_cell(self.cells, cell_intervals(self.cells, reading)))[
            id(cell)
        ]

    def added(self, cell: Cell, reading: Reading) -> Difference:
        """What a reading adds to the headline, on the same trials."""
        found = self._keep(
            ("added", reading.name),
            lambda: by_cell(self.cells, differences([(c, c) for c in self.cells], reading, self.headline)),
        )
        return found[id(cell)]

    def comparison(self, column: Column, reading: Reading) -> ColumnComparison | None:
        """The rows of a column beside its best row. None if no row is complete."""
        return self._keep(("best", column.label, reading.name), lambda: compare_column(self.column(column), reading))

    def is_best(self, cell: Cell, reading: Reading) -> bool:
        """Whether a cell is the best of its column. A column with one row has no best one."""
        found = self.comparison(cell.column, reading)
        return found is not None and found.best is cell and bool(found.differences)

    def is_level(self, cell: Cell, reading: Reading) -> bool:
        """Whether a cell cannot be told apart from the best of its column."""
        found = self.comparison(cell.column, reading)
        return found is not None and cell.row.label in found.not_told_apart

    def beside_baseline(self, cell: Cell, reading: Reading) -> Difference | None:
        """A cell minus the baseline's cell of the same column. None for the baseline itself, a cited row, or no baseline."""
        base = next((other for other in self.column(cell.column) if other.row.label == self.baseline), None)
        if base is None or base is cell or not cell.trials:
            return None
        return self._keep(
            ("baseline", id(cell), reading.name), lambda: compare_with([cell], base, reading)[cell.row.label]
        )

    def beside_row(self, cell: Cell, reading: Reading) -> Difference | None:
        """A cell minus that of the row's own `beside` in the same column. None without such a row in the table."""
        base = next((other for other in self.column(cell.column) if other.row.label == cell.row.beside), None)
        if base is None:
            return None
        return self._keep(("beside", id(cell), reading.name), lambda: differences([(cell, base)], reading, reading)[0])

    def aggregates(self, reading: Reading) -> list[RowAggregates]:
        """The aggregates of complete rows over the columns. None for a reading that takes a maximum over seeds."""
        if reading.seeds == "max":
            return []
        return self._keep(
            ("aggregates", reading.name), lambda: aggregate_rows(self.table, self.cells, reading, self.baseline)
        )

    def asked(self, cell: Cell) -> list[TargetReturn]:
        """What a cell was asked for and got at each target."""
        return self._keep(("asked",), lambda: by_cell(self.cells, target_returns(self.cells)))[id(cell)]

    def published(self, cell: Cell, reading: Reading) -> Published | None:
        """The paper's number for a cell, beside ours under a reading. None if the paper has none."""
        row, column = cell.row, cell.column
        value = row.published.get(column.label)
        if value is None:
            return None
        why_not = row.not_comparable_on.get(column.label, row.not_comparable)
        if not is_papers_data(column):
            why_not = f"published for other data than {', '.join(column.dataset)}"
        elif self.table.budget:
            why_not = f"published for the whole training, not for budget {self.table.budget}"
        elif not why_not and not row.published_reading:
            why_not = "the table does not say how it was read"
        elif not why_not and row.published_reading != reading.name:
            why_not = f"read as {row.published_reading}"
        return Published(value, row.published_std.get(column.label), row.published_reading, why_not)

    def parameters(self, cell: Cell) -> ParameterCount | None:
        """The parameters of a cell's model. Without a finished trial they are counted from the model. A cited row has none."""
        if cell.parameters is not None and cell.live_parameters is not None:
            return ParameterCount(cell.parameters, cell.live_parameters)
        return self._counted.get((cell.row.label, cell.column.label))

    @cached_property
    def _counted(self) -> Mapping[tuple[str, str], ParameterCount]:
        return parameter_counts(self.table)

    def _keep(self, key: tuple, compute):
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


def by_cell(cells: list[Cell], values: list) -> dict[int, Any]:
    """Values of cells, by the cell's identity."""
    return {id(cell): value for cell, value in zip(cells, values, strict=True)}
