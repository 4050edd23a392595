"""Values and ids: what moves a weight moves the first id, what moves a return the second. Errors name the right names."""

from dataclasses import fields, replace

import pytest
from helpers.foreign import GRU, write_gru
from helpers.reacher import REACHER, TINY

from dmm import config
from dmm.architectures import find_model, list_models
from dmm.config import (
    BEST,
    Budget,
    Column,
    Evaluation,
    Protocol,
    Reading,
    Row,
    Table,
    Target,
    Training,
    Trial,
    grid,
)
from dmm.config.protocol import EVALUATION, TRAINING
from dmm.tables import find_table, tables
from dmm.tasks import find_task
from tune_spaces import protocols

GOLDEN = [("d8367b4b1cbf8f45", "191f22f5b4e6c335"), ("8734833753a0f980", "006375f3ba495e08")]
HOPPER = find_task("hopper")
BASE = Trial(
    arch="edt", task=HOPPER, dataset=("d4rl/hopper-medium-v2",), training=Training(), evaluation=Evaluation(), seed=0
)
DATA = "d4rl/hopper-medium-v2"


def ids(trial: Trial) -> tuple[str, str]:
    return trial.weights_id, trial.returns_id


def test_golden_ids():
    """A change here loses every stored result: raise config.RESULTS_VERSION and say so in LOG.md, or find the mistake."""
    metamamba = replace(BASE, arch="metamamba", seed=3, overrides=(("width", 128),))
    assert [ids(BASE), ids(metamamba)] == GOLDEN


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"arch": "dc"},
        {"overrides": (("width", 64),)},
        {"dataset": ("d4rl/hopper-expert-v2", "d4rl/hopper-medium-v2")},
        {"task": replace(HOPPER, return_scale=1.0)},
        {"task": replace(HOPPER, spaces=replace(HOPPER.spaces, low=(-2.0, -1.0, -1.0)))},
        {"training": Training(grad_clip_norm=1.0)},
        {"training": Training(top_fraction=0.1)},
        {"training": Training(window_anchor="end")},
        {"training": Training(actions_outside="clip")},
    ],
)
def test_what_moves_a_weight_moves_both_ids(change):
    changed = replace(BASE, **change)
    assert changed.weights_id != BASE.weights_id and changed.returns_id != BASE.returns_id


@pytest.mark.parametrize(
    "change",
    [
        {"evaluation": Evaluation(num_evaluations=5)},
        {"evaluation": Evaluation(targets=(1.0, 0.5))},
        {"evaluation": Evaluation(targets=(Target(3600.0, "return"),))},
        {"evaluation": Evaluation(rollout_pad_action=-10.0)},
        {"overrides": (("stride", 4),)},  # acting fields
        {"overrides": (("inverse_temperature", 25.0),)},
        {"task": replace(HOPPER, target_return=1800.0)},
        {"task": replace(HOPPER, horizon=500)},
        {"task": replace(HOPPER, environment="Hopper-v4")},
        {"task": replace(HOPPER, options=(("reset_noise_scale", 0.1),))},
    ],
)
def test_what_moves_only_returns_moves_only_the_second_id(change):
    changed = replace(BASE, **change)
    assert changed.weights_id == BASE.weights_id and changed.returns_id != BASE.returns_id


@pytest.mark.parametrize(
    "change",
    [
        {"task": replace(HOPPER, ref_min_score=0.0, source="elsewhere")},
        {"overrides": (("width", 512), ("stride", 2))},  # the defaults, said aloud
        {"training": Training(grad_clip_norm=0.25), "evaluation": Evaluation(targets=(1,))},
    ],
)
def test_what_moves_no_number_leaves_both_ids(change):
    assert ids(replace(BASE, **change)) == ids(BASE)


def test_results_constant_moves_every_id(monkeypatch):
    before = ids(BASE)
    monkeypatch.setattr(config.trial, "RESULTS_VERSION", config.RESULTS_VERSION + 1)
    assert not set(ids(replace(BASE))) & set(before)


@pytest.mark.parametrize("arch", list_models())
def test_overrides_are_one_flat_mapping(arch):
    names = {field.name for field in fields(find_model(arch).Config)}
    assert not names & (TRAINING | EVALUATION) and not TRAINING & EVALUATION


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(BASE, arch="metamanba"), ["metamanba", "dc", "Did you mean 'metamamba'"]),
        (lambda: replace(BASE, overrides=(("widht", 3),)), ["widht", "layers", "Did you mean 'width'"]),
        (lambda: replace(BASE, overrides=(("width", "3"),)), ["edt.width", "'3'", "int"]),
        (lambda: replace(BASE, seed=-1), ["-1", "at least 0"]),
        (lambda: replace(BASE, seed=True), ["Trial.seed is True", "int"]),
        (lambda: replace(BASE, task="hopper"), ["Trial.task is 'hopper'", "a Task"]),
        (lambda: Row(label="", arch="dt"), ["a row's label is '', of 0 characters"]),
        (lambda: replace(BASE, evaluation=Evaluation(num_evaluations=3)), ["100,000", "3"]),
        (lambda: replace(BASE, evaluation=Evaluation(rollout="recurrent")), ["edt", "metamamba", "rollout"]),
        (lambda: find_task("hoper"), ["hoper", "walker2d", "Did you mean 'hopper'"]),
        (lambda: find_table("quickstrat"), ["quickstrat", "Did you mean 'quickstart'"]),
        (lambda: find_table("quickstart.shrot"), ["shrot", "dmm", "Did you mean 'short'"]),
        (lambda: find_table("no/such/file.py"), ["no/such/file.py"]),
        (lambda: Protocol(name="p").with_overrides(lr=3), ["lr", "learning_rate"]),
        (lambda: Training(padding="middle"), ["middle", "left", "right"]),
        (lambda: Training(updates=10), ["warmup is 10,000", "updates is 10"]),
        (lambda: Training(window_anchor="whole"), ["whole", "'episodes'", "'steps'"]),
        (lambda: Training(top_fraction=0.0), ["top_fraction is 0.0", "at most 1"]),
        (lambda: Training(top_fraction=10), ["top_fraction is 10.0", "at most 1"]),
        (lambda: Evaluation(targets=()), ["targets"]),
        (lambda: Evaluation(targets=(1.0, Target(1.0))), ["x1, x1", "different"]),
        (lambda: Reading(name="r", target="best"), ["best", "first", "max", "mean"]),
        (lambda: Reading(name="r", average_last=3), ["average_last 3", "'average'"]),
        (lambda: Row(label="x", arch="dt", preset="DMM-Q").config_overrides("c"), ["DMM-Q", "dt.py"]),
        (lambda: Row(label="x", arch="dt", overrides={"warm_up": 3}).config_overrides("c"), ["warm_up", "'warmup'"]),
        (lambda: Row(label="x", overrides={"width": 3}), ["'x'", "cited"]),
        (lambda: Column(label="c", task=HOPPER), ["'c'", "dataset"]),
        (lambda: grid(Row(label="x", arch="dt", overrides={"width": 3}), width=(3, 4)), ["'x'", "width", "varies"]),
        (lambda: grid(Row(label="x", arch="dt"), width=64), ["width", "64", "sequence"]),
        (lambda: Budget(factor=2.0, num_evaluations=1, episodes_per_evaluation=1, seeds=1), ["factor", "2.0"]),
        (
            lambda: Budget(factor=1.0, num_evaluations=1, episodes_per_evaluation=1, seeds=1, batch_size=0),
            ["batch_size", "1"],
        ),
        (lambda: Training(batch_size=8, micro_batch_size=8), ["micro_batch_size is 8", "no effect", "below 8"]),
    ],
)
def test_wrong_names_and_values(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


def table(**changes) -> Table:
    column = Column(task=REACHER, dataset="d4rl:x.hdf5", label="reacher")
    rows = (Row(label="a", arch="dt"), Row(label="same as a", arch="dt"), Row(label="b", arch="dc"))
    values = {"name": "t", "title": "t", "rows": rows, "columns": (column,), "seeds": (0, 1), "protocol": TINY}
    return Table(**{**values, **changes})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Row(label="a", arch="dt", overrides=None), "Row.overrides is None.* takes a mapping"),
        (lambda: Row(label="a", arch="dt", published={"c": "12"}), "published.'c'. is '12', a str; it takes a float"),
        (lambda: Row(label="a", arch="dt", per_column={"c": 3}), "per_column.'c'. is 3, an int; it takes a mapping"),
        (lambda: Column(label="c", task="hopper", dataset=DATA), "Column.task is 'hopper', a str; it takes a Task"),
        (lambda: Column(label="c", task=HOPPER, dataset=(3,)), "Column.dataset is 3"),
        (lambda: Column(label="c", sources={"d4rl": DATA}), "sources.'d4rl'. is .*a pair of a Task and"),
        (lambda: table(rows=Row(label="a", arch="dt")), "Table.rows is Row.*a tuple of Row"),
        (lambda: table(seeds=(0.5,)), "Table.seeds is 0.5, a float; it takes an int"),
        (lambda: table(readings=(BEST, "last")), "Table.readings is 'last', a str; it takes a Reading"),
        (lambda: table(protocol=Training()), "Table.protocol is Training.*takes a Protocol"),
        (lambda: table(budgets={"x": 0.1}), "budgets.'x'. is 0.1, a float; it takes a Budget"),
        (lambda: Protocol(name="a", training=Evaluation()), "Protocol.training is Evaluation.*takes a Training"),
        (lambda: Reading(name="a", floor="0"), "Reading.floor is '0', a str; it takes a float or None"),
        (lambda: Reading(name="a", target=None), "Reading.target is None.*takes a Target or a str"),
        (lambda: Training(betas=0.9), "Training.betas is 0.9.*a pair of a float and a float"),
        (lambda: Training(learning_rate=float("nan")), "Training.learning_rate is nan; it must be finite"),
        (lambda: Target(float("inf")), "Target.value is inf; it must be finite"),
        (lambda: replace(HOPPER, return_scale=0), "Task.return_scale of hopper is 0.0; it must be above 0"),
        (lambda: grid(Row(label="a", arch="dt", published={"c": 1.0}), width=(8, 16)), "published numbers"),
    ],
)
def test_wrong_types_say_field_value_and_type(make, words):
    with pytest.raises(ValueError, match=words):
        make()


FIELD = "width: int = 16"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{FIELD}; learning_rate: float = 1.0", "a field 'learning_rate', and Training has one of that name"),
        (f"{FIELD}; targets: int = 1", "a field 'targets', and Evaluation has one of that name"),
        (f"{FIELD}; depth = 3", "Config.depth has no type.*write `depth: int = 3`"),
        ("presets = ['wide']", r"GRU.presets is \['wide'\], a list; it takes a mapping"),
        ("presets = {'wide': 3}", r"GRU.presets\['wide'\] is 3, an int; it takes a mapping"),
        ("needs = ['goals']", "GRU.needs is .*a list; it takes a frozenset"),
        ('width: int = "16"', "gru.width is '16', a str; it takes an int"),
        ("width: float = float('nan')", "gru.width is nan; it must be finite"),
        ("width: int", "gru.width has no default, and no value was given"),
        ("width: torch.Tensor = None", "gru.width is declared as a Tensor; a field of a Config is an int, float"),
        ("width: type = nn.GELU", "gru.width is declared as a type; a field of a Config is an int, float"),
        ("width: tuple[nn.Module, ...] = ()", "gru.width is declared as a tuple of Module"),
    ],
)
def test_a_config_that_no_id_can_hold_is_refused_before_anything_runs(tmp_path, text, said):
    place = "    @dataclass" if text.startswith(("presets", "needs")) else f"        {FIELD}"
    changed = f"    {text}\n\n{place}" if "@" in place else f"        {text}"
    path = write_gru(tmp_path, GRU.replace(place, changed))
    with pytest.raises(ValueError, match=said):
        replace(BASE, arch=path)


def test_a_row_refuses_a_config_with_a_field_of_training(tmp_path):
    path = write_gru(tmp_path, GRU.replace(FIELD, f"{FIELD}; batch_size: int = 1"))
    with pytest.raises(
        ValueError, match="the Config of gru has a field 'batch_size', and Training has one of that name"
    ):
        Row(label="x", arch=path, overrides={"batch_size": 3})


def test_an_integer_is_the_float_that_it_equals():
    integer = replace(BASE, task=replace(HOPPER, return_scale=1000, target_return=3600))
    assert ids(integer) == ids(BASE)


def test_labels_of_targets_are_exact():
    labels = [Target(value, "return").label for value in (1_000_001.0, 1_000_002.0, 1e6, 0.1, 6000)]
    assert labels == ["1000001", "1000002", "1000000", "0.1", "6000"]


def test_a_reading_of_more_evaluations_than_a_cell_has_is_refused_before_any_work():
    mean = Reading(name="mean of 2", checkpoint="average", average_last=2)
    assert table(readings=(mean,)).trials()
    with pytest.raises(ValueError, match="'mean of 2' wants 2 evaluations; .* has 1"):
        table(readings=(mean,)).at("smoke")


def test_errors_of_a_cell_name_it():
    with pytest.raises(ValueError, match="^a on reacher: .*updates cannot be divided"):
        table(rows=(Row(label="a", arch="dt", overrides={"updates": 9}),)).trials()
    with pytest.raises(ValueError, match="^a on reacher: dt.width is '8'"):
        table(rows=(Row(label="a", arch="dt", overrides={"width": "8"}),)).trials()


def test_a_table_lists_each_trial_once():
    found = table()
    assert len(found.trials()) == 4
    assert [trial.seed for trial in found.trials()] == [0, 0, 1, 1]
    assert found.cell(found.rows[0], found.columns[0]) == found.cell(found.rows[1], found.columns[0])
    with pytest.raises(ValueError, match="each once"):
        replace(found, seeds=(0, 0))
    with pytest.raises(ValueError, match="Did you mean 'reacher'"):
        replace(found, rows=(Row(label="a", arch="dt", published={"reachr": 1.0}),))
    with pytest.raises(ValueError, match="Did you mean 'reacher'"):
        replace(found, rows=(Row(label="a", arch="dt", per_column={"reachr": {"width": 8}}),))


def test_overrides_of_a_column_reach_config_training_and_evaluation():
    row = Row(
        label="a",
        arch="dt",
        overrides={"width": 32, "learning_rate": 1e-4},
        per_column={"one": {"width": 64, "batch_size": 16, "targets": (Target(5.0, "return"),)}},
    )
    columns = tuple(Column(task=REACHER, dataset=f"d4rl:{label}", label=label) for label in ("one", "two"))
    one, two = table(rows=(row,), columns=columns, seeds=(0,)).trials()
    assert (one.config.width, one.training.batch_size, one.evaluation.targets) == (64, 16, (Target(5.0, "return"),))
    assert (two.config.width, two.training.batch_size, two.evaluation) == (
        32,
        TINY.training.batch_size,
        TINY.evaluation,
    )
    assert one.training.learning_rate == two.training.learning_rate == 1e-4


def test_a_cited_row_has_numbers_and_no_trials():
    cited = Row(label="theirs", published={"reacher": 70.0})
    found = table(rows=(Row(label="a", arch="dt"), cited))
    assert len(found.trials()) == 2 and found.cell(cited, found.columns[0]) == []
    with pytest.raises(ValueError, match="'theirs' of table t is cited"):
        found.trial(cited, found.columns[0], 0)


def test_a_grid_names_its_rows_and_the_table_knows_its_axes():
    found = table(rows=grid(Row(label="DT", arch="dt"), context_length=(2, 4), width=(8, 16)))
    assert [row.label for row in found.rows][:2] == ["DT, context_length 2, width 8", "DT, context_length 2, width 16"]
    assert found.axes == {"context_length": (2, 4), "width": (8, 16)}
    trials = [found.trial(row, found.columns[0], 0) for row in found.rows]
    assert [(trial.training.context_length, trial.config.width) for trial in trials] == [
        (2, 8),
        (2, 16),
        (4, 8),
        (4, 16),
    ]


def test_a_source_keeps_the_columns_that_have_it():
    both = Column(label="hopper", sources={"d4rl": (HOPPER, DATA), "dmm": (HOPPER, "dmm/hopper/medium-v0")})
    found = table(columns=(both, Column(task=REACHER, dataset="d4rl:x.hdf5", label="reacher")))
    assert found.columns[0].dataset == (DATA,)
    ours = found.on("dmm")
    assert (ours.name, ours.left_out, [column.label for column in ours.columns]) == ("t.dmm", ("reacher",), ["hopper"])
    assert {trial.dataset for trial in ours.trials()} == {("dmm/hopper/medium-v0",)}
    assert found.on("d4rl").trials() == found.trials()
    assert ours.at("smoke").name == "t.dmm.smoke"
    with pytest.raises(ValueError, match="unknown source of data 'minari'; table t has d4rl, dmm"):
        found.on("minari")
    assert replace(both, label="other").sources == both.sources
    with pytest.raises(ValueError, match="'hopper' takes a task and a dataset, or sources"):
        replace(both, dataset="d4rl/other")


def test_a_part_has_the_same_ids():
    found = table(rows=(Row(label="a", arch="dt"), Row(label="b", arch="dc")))
    part = found.select(["b"], [], [1])
    assert part.name == "t" and part.part == "rows b; seeds 1"
    assert [trial.returns_id for trial in part.trials()] == [found.trial(found.rows[1], found.columns[0], 1).returns_id]
    with pytest.raises(ValueError, match="unknown row 'c'; table t has a, b"):
        found.select(["c"])


def test_targets_are_resolved_by_task_and_data():
    assert [target.label for target in (Target(0.5), Target(6000.0, "return"), Target(0.5, "data"))] == [
        "x0.5",
        "6000",
        "0.5 of max",
    ]
    assert Target(0.5).resolve(HOPPER, 3000.0) == 1800.0
    assert Target(6000.0, "return").resolve(HOPPER, 3000.0) == 6000.0
    assert Target(0.5, "data").resolve(HOPPER, 3000.0) == 1500.0


@pytest.mark.parametrize("name", tables())
def test_every_table_loads(name):
    found = find_table(name)
    assert found.name == name
    trials = found.trials()
    assert len({trial.returns_id for trial in trials}) == len(trials) > 0
    assert find_table(f"{name}.smoke").name == f"{name}.smoke"


def test_the_papers_protocols_can_be_written():
    """A table with the settings of DC, Ota, EDT and Correia beside one another. Expected values are those of the papers."""
    columns = tuple(
        Column(task=find_task(label.split("-")[0]), dataset=f"d4rl/{label}-v2", label=label)
        for label in protocols.LOCOMOTION
    )
    recipe = {"context_length": 20, "targets": protocols.OTA_GYM.evaluation.targets}
    found = table(
        rows=(
            Row(label="DC", arch="dc", per_column=protocols.DC_PER_COLUMN),
            Row(label="DMamba", arch="decision_mamba", overrides=recipe, per_column=protocols.OTA_PER_COLUMN),
            Row(label="EDT", arch="edt", per_column=protocols.EDT_SAMPLED_PER_COLUMN),
        ),
        columns=columns,
        seeds=(0,),
        protocol=protocols.DC_GYM,
        readings=(BEST,),
    )
    trial = {(row.label, c.label): found.trial(row, c, 0) for row in found.rows for c in columns}
    dc = trial["DC", "hopper-medium-expert"]
    assert (dc.config.width, dc.training.learning_rate, dc.training.context_length) == (128, 1e-3, 8)
    ota = trial["DMamba", "hopper-medium"]
    assert (ota.config.width, ota.training.learning_rate, ota.training.context_length) == (256, 1e-4, 20)
    assert [target.value for target in ota.evaluation.targets] == [1.0, 2.0, 10.0, 20.0, 0.5]
    edt = trial["EDT", "halfcheetah-medium"]
    assert (edt.training.batch_size, edt.evaluation.targets, edt.config.inverse_temperature) == (
        128,
        (Target(0.5),),
        11.0,
    )
    assert edt.config.return_high == pytest.approx(12.135)


def test_readings_describe_themselves():
    assert Reading(name="r").describe() == "last evaluation, first target, mean over seeds"
    assert Reading(name="r", target=0.5).describe() == "last evaluation, target x0.5, mean over seeds"
    assert "floored at 0" in config.PAPER_MAX.describe() and "max over seeds" in config.PAPER_MAX.describe()
