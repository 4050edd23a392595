"""The typed results. What a trial writes to its folder, and what reports and MLflow read.

Every class here is plain JSON: `to_json` writes one, `from_json` reads it and refuses wrong fields and wrong types.
Returns are undiscounted and in the environment's units. Scores are D4RL-normalised: 0 to 100 between reference policies.
"""

import dataclasses
import hashlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple, TypeVar

from dmm.base.errors import unknown_name
from dmm.base.fields import field_types, recorded, shown
from dmm.base.source_code import SourceCode
from dmm.batch import Spaces
from dmm.tasks import Target, Task

Status = Literal["running", "finished", "failed", "stopped"]  # stopped: it is not finished, and no process runs it
T = TypeVar("T")


class LossPoint(NamedTuple):
    """A point of the loss curve."""

    update: int  # updates done
    loss: float  # mean training loss since the previous point


class ReturnPoint(NamedTuple):
    """A point of the curve of returns at one target."""

    update: int  # updates done
    mean_return: float  # over the episodes of the evaluation


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The episodes of one evaluation at one target."""

    update: int  # updates done
    target: str  # its label: x1, 6000, 0.5 of max
    asked: float  # the return asked for
    returns: list[float]  # one per episode
    lengths: list[int]  # steps of each episode
    weights_sha256: str  # of the weights that were rolled out


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Wall time of a trial, in seconds."""

    train: float = 0.0
    rollout: float = 0.0

    @property
    def total(self) -> float:
        """Training and rollouts."""
        return self.train + self.rollout


@dataclass(frozen=True)
class ModelSource:
    """An architecture from outside of dmm: its name, and the source code that makes its class in any process."""

    name: str  # of the architecture
    class_name: str
    code: SourceCode
    distribution: str = ""  # name and version of the installed package that offers it

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the class's name and of the source code."""
        return hashlib.sha256(f"{self.class_name} {self.code.sha256}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """All that can move a weight of a trial. Its hash is the trial's first id.

    A field that has a default is left out of the hash at its default, so that ids stay when a field is added.
    """

    results_version: int
    arch: str
    config: dict[str, Any]  # the fields of the architecture's Config that training reads
    training: dict[str, Any]  # every field of Training
    spaces: Spaces
    return_scale: float  # returns-to-go are divided by it
    dataset: list[str]  # ids
    seed: int
    source_sha256: str = ""  # of an architecture from outside
    distribution: str = ""  # the installed package that offers it: name and version
    code: str = ""  # a hash of the files of dmm that were edited since they were pinned
    reward_clip: float | None = None  # returns-to-go are sums of rewards clipped to +- this


@dataclass(frozen=True, kw_only=True)
class ReturnsRecord:
    """All that can move a return of a trial. Its hash is the trial's second id."""

    weights_id: str
    evaluation: dict[str, Any]  # every field of Evaluation
    config: dict[str, Any]  # the fields of the architecture's Config that only acting reads
    environment: str  # Gymnasium id
    options: list[list[Any]]  # [name, value]: keyword arguments of gymnasium.make
    horizon: int  # steps
    target_return: float


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial as JSON: all that can move a number."""

    weights: WeightsRecord
    returns: ReturnsRecord

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the architecture's Config."""
        return {**self.weights.config, **self.returns.config}

    @property
    def context_length(self) -> int:
        """K, in environment steps."""
        return self.weights.training["context_length"]

    @property
    def targets(self) -> list[str]:
        """The labels of the targets, in the evaluation's order."""
        return [Target(**target).label for target in self.returns.evaluation["targets"]]

    @property
    def width(self) -> int | None:
        """Embedding width. None where the architecture has no such field."""
        return self.config.get("width")


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that a trial learnt from."""

    ids: list[str]
    sha256: str  # of the arrays
    episodes: int
    steps: int
    return_mean: float  # over episodes
    return_max: float  # the highest return of an episode
    return_min: float | None = None  # the lowest. It was not recorded in the beginning


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result comes from. Not part of an id. If a resumed trial changed a value, it is "1, then 2"."""

    commit: str
    versions: dict[str, str]  # of installed packages
    machine: str
    device: str  # cpu or cuda
    scan: str  # the kernel of the selective scan, which moves float bits
    workers: str  # how many processes trained the model
    code: str = ""  # a hash of all of dmm's code that can move a number of the trial. Results of dmm 0.1.0 have none


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """The outcome of a model's training so far."""

    parameters: int  # of one model, unused ones included
    live_parameters: int  # of them, those that training changes
    update: int = 0  # updates done
    loss: list[LossPoint] = field(default_factory=list)
    train_seconds: float = 0.0
    peak_memory: float = 0.0  # MiB, in training. 0 where it was not measured


@dataclass(frozen=True, kw_only=True)
class TrainingResult(TrainingProgress):
    """training.json: the outcome of a model's training, without the weights."""

    weights_id: str
    weights: WeightsRecord
    status: Status
    error: str | None  # why it failed
    data: DataRecord
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """card.json of kept weights: everything that a rollout needs besides the weights. So a rollout needs no data."""

    weights_id: str
    weights: WeightsRecord
    config: dict[str, Any]  # every field of the Config that the model was built with
    task: Task
    update: int  # updates done
    parameters: int
    live_parameters: int
    data: DataRecord
    state_mean: list[float]
    state_std: list[float]  # with Training.std_offset
    provenance: Provenance
    sha256: str  # of the file of weights
    source: ModelSource | None = None  # of an architecture from outside


@dataclass(frozen=True, kw_only=True)
class ReturnsResult:
    """A file of evaluations/: the outcome of an Evaluation of a trial's weights, episode by episode.

    It holds whole entries: all episodes of an evaluation at a target, or none.
    """

    returns_id: str
    returns: ReturnsRecord
    task: Task
    status: Status
    error: str | None  # why it failed
    provenance: Provenance  # of the rollouts
    evaluations: list[EvaluationResult]  # by update, then by target
    rollout_seconds: float


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A trial's training and evaluation together, as they are on disk now."""

    training: TrainingResult
    returns: ReturnsResult
    status: Status

    @property
    def id(self) -> str:
        """The second id."""
        return self.returns.returns_id

    @property
    def trial(self) -> TrialRecord:
        """The trial as JSON."""
        return TrialRecord(weights=self.training.weights, returns=self.returns.returns)

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.returns.error or self.training.error

    @property
    def task(self) -> Task:
        """The task of the episodes."""
        return self.returns.task

    @property
    def update(self) -> int:
        """Updates done."""
        return self.training.update

    @property
    def evaluations(self) -> list[EvaluationResult]:
        """The evaluations so far, by update, then by target."""
        return self.returns.evaluations

    @property
    def seconds(self) -> Seconds:
        """Wall time so far."""
        return Seconds(train=self.training.train_seconds, rollout=self.returns.rollout_seconds)


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """A result without its episodes and losses. Every table is computed from these."""

    id: str  # the second id
    weights_id: str
    trial: TrialRecord
    task: Task
    status: Status
    error: str | None
    data: DataRecord
    provenance: Provenance  # of the training
    rollouts: Provenance
    parameters: int
    live_parameters: int
    update: int
    seconds: Seconds
    peak_memory: float = 0.0  # MiB, in training. 0 where it was not measured
    steps: int = 0  # of the environment in all rollouts. 0 where they were not counted
    asked: dict[str, float]  # target label (x1, 6000) -> the return asked for, in the evaluation's order
    curve: dict[str, list[ReturnPoint]]  # target label -> its evaluations, by update
    run_id: str | None = None  # of MLflow, where it was read from there


@dataclass(frozen=True, kw_only=True)
class ReportSource:
    """Where a report was read from, for its manifest."""

    uri: str  # of the tracking store
    experiment: str
    query: str
    commit: str  # of the code that made the report
    versions: dict[str, str]


def to_json(value: Any) -> Any:
    """A JSON value with the same content. A dataclass becomes an object, a tuple a list.

    A field that is marked by `later` is left out at its default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(entry) for name, entry in recorded(value).items()}
    if isinstance(value, Mapping):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(entry) for entry in value]
    return value


def from_json(expected: type[T], value: Any, where: str = "") -> T:
    """The value of a type that `to_json` wrote. Raises ValueError with the place of the first wrong or missing field."""
    where = where or expected.__name__
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shown(value)}; it takes an object")
    return read(expected, value, where)


@cache
def needed_fields(expected: type) -> list[str]:
    """The names of a dataclass's fields without a default."""
    return [f.name for f in dataclasses.fields(expected) if f.default is f.default_factory is dataclasses.MISSING]


def read(expected: Any, value: Any, where: str) -> Any:
    """`from_json` for any type that the classes above use. Raises ValueError in the same way."""
    if type(value) is expected and expected in (str, int, float, bool):
        return value  # most values are such
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return value
    if dataclasses.is_dataclass(expected) and isinstance(value, dict):
        known, needed = field_types(expected), needed_fields(expected)
        for name in value:
            if name not in known:
                raise unknown_name("field", name, known, where)
        for name in needed:
            if name not in value:
                raise ValueError(f"{where} has no {name}")
        return typing.cast(type, expected)(
            **{name: read(known[name], entry, f"{where}.{name}") for name, entry in value.items()}
        )
    if isinstance(value, list) and isinstance(expected, type) and issubclass(expected, tuple):
        parts = field_types(expected)  # of a NamedTuple
        if len(parts) == len(value):
            return expected(*(read(kind, entry, where) for kind, entry in zip(parts.values(), value, strict=True)))
    if isinstance(value, list) and origin is tuple and arguments[-1] is not Ellipsis and len(arguments) == len(value):
        return tuple(read(kind, entry, where) for kind, entry in zip(arguments, value, strict=True))
    if isinstance(value, list) and origin is list and set(map(type, value)) <= {arguments[0]}:
        return value  # thousands of numbers or texts are not read one by one
    if isinstance(value, list) and (origin is list or arguments[-1:] == (Ellipsis,)):
        return origin(read(arguments[0], entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if isinstance(value, dict) and origin is dict:
        return {key: read(arguments[1], entry, f"{where}[{key!r}]") for key, entry in value.items()}
    if origin is Literal and value in arguments:
        return value
    if origin in (types.UnionType, typing.Union):
        return None if value is None else read(arguments[0], value, where)  # only `X | None` is used
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is expected:
        return value
    kind = " or ".join(map(str, arguments)) if origin is Literal else getattr(expected, "__name__", str(expected))
    raise ValueError(f"{where} is {shown(value)}; it takes {kind}")
