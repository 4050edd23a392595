"""MLflow's inputs of a run: the data that a trial learnt from, and the table that a report is of."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from dmm.base.checksums import json_sha256
from dmm.config import Table
from dmm.config.budget import PAPER
from dmm.schema import DataRecord, TrialSummary

DIGITS = 16  # of a sha256 on MLflow's page. MLflow takes at most 36
NAME_LENGTH = 500  # characters that MLflow takes. The source of an input has all of a longer name


def data_input(data: DataRecord) -> DatasetInput:
    """The data of a trial."""
    facts = {"episodes": data.episodes, "steps": data.steps, "sha256": data.sha256}
    return described("training", "+".join(data.ids), data.sha256, {"ids": data.ids}, facts)


def report_inputs(table: Table, summaries: Iterable[TrialSummary]) -> list[DatasetInput]:
    """The identity of a table, which has the second ids of its trials, and the data of the trials, each once."""
    ids = [trial.returns_id for trial in table.trials()]
    facts = {"budget": table.budget or PAPER, "trials": len(ids), "ids_sha256": json_sha256(sorted(ids))}
    if table.data_source:
        facts["data_source"] = table.data_source
    identity = {"table": table.name}
    data = {summary.data.sha256: data_input(summary.data) for summary in summaries}
    return [described("table", table.name, json_sha256(identity | facts), identity, facts), *data.values()]


def described(
    context: str, name: str, sha256: str, source: Mapping[str, Any], facts: Mapping[str, Any]
) -> DatasetInput:
    """An input with facts that MLflow's page shows. The context says what it is for."""
    dataset = Dataset(name[:NAME_LENGTH], sha256[:DIGITS], "dmm", json.dumps(source), profile=json.dumps(facts))
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def names(inputs: Iterable[DatasetInput]) -> set[tuple[str, str]]:
    """The names and digests of inputs. Together they identify an input in MLflow."""
    return {(each.dataset.name, each.dataset.digest) for each in inputs}


def inputs_of(run: Run) -> list[DatasetInput]:
    """The inputs of a run in MLflow."""
    return list(run.inputs.dataset_inputs) if run.inputs else []
