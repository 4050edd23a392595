"""A trained model in a folder of its own, which loads on any machine with dmm."""

import os
import shutil
from pathlib import Path

from dmm.api.trained import EVALUATION, locate
from dmm.base.paths import check_writable, write_atomic
from dmm.schema import ReturnsResult
from dmm.trials.storage import read_checked
from dmm.trials.weights import CARD, WEIGHTS, read_weights

README = """{arch} on {dataset}, seed {seed}, after {update:,} updates. Trial {id}.

{weights}  the weights
{card}          the architecture's settings{code}, the task, the data, and where the weights come from
{evaluation}    its scores, and how the model acts

It acts in Python with:

    import dmm
    policy = dmm.load("{folder}"{trust}).policy()
"""


def export_model(id_: str, folder: Path, update: int | None = None) -> Path:
    """Copies kept weights to a folder that `dmm.load` takes, whole or not at all. Returns the folder.

    `id_` and `update` are those of `dmm.load`. Raises ValueError for a folder that has files already, for weights that are
    not kept, and for damaged ones.
    """
    source, evaluation = locate(id_, update)
    card, _ = read_weights(source)
    if read_checked(ReturnsResult, evaluation) is None:
        raise ValueError(f"{evaluation} is gone")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder; give another one")
    folder = folder.resolve()
    check_writable(folder.parent, "an exported model")
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir()
        for path, name in ((source / WEIGHTS, WEIGHTS), (source / CARD, CARD), (evaluation, EVALUATION)):
            shutil.copyfile(path, building / name)
        record = card.weights
        text = README.format(
            arch=record.arch,
            dataset=" + ".join(record.dataset),
            seed=record.seed,
            update=card.update,
            id=evaluation.stem,
            weights=WEIGHTS,
            card=CARD,
            code=" and source code, which trust_code=True runs" if card.source else "",
            evaluation=EVALUATION,
            folder=folder.name,
            trust=", trust_code=True" if card.source else "",
        )
        write_atomic(building / "README.txt", text.encode())
        os.replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder
