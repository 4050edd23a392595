"""Where datasets are on the web: a table from ids to addresses. No address was tried when this was written.

D4RL: d4rl/infos.py of Farama-Foundation/D4RL at commit 61b0d257. No sha256 is published.
DQN replay: the README of google-research/batch_rl, which names the bucket. Its 60 games are in dmm/tasks/atari.py.
"""

from dmm.tasks import atari

D4RL = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
DQN = "https://storage.googleapis.com/atari-replay-datasets/dqn"

ANTMAZE = {
    "umaze": "u-maze_noisy_multistart_False_multigoal_False",
    "umaze-diverse": "u-maze_noisy_multistart_True_multigoal_True",
    "medium-play": "big-maze_noisy_multistart_True_multigoal_False",
    "medium-diverse": "big-maze_noisy_multistart_True_multigoal_True",
    "large-play": "hardest-maze_noisy_multistart_True_multigoal_False",
    "large-diverse": "hardest-maze_noisy_multistart_True_multigoal_True",
}
KITCHEN = {
    "complete": "mini_kitchen_microwave_kettle_light_slider",
    "partial": "kitchen_microwave_kettle_light_slider",
    "mixed": "kitchen_microwave_kettle_bottomburner_light",
}
GAMES = tuple(game.name for game in atari.GAMES.values() if game.in_replay)  # of DQN-replay


def d4rl_files() -> dict[str, str]:
    """The file of each D4RL dataset, below the address D4RL. The papers' medium-expert is two files: `parts`."""
    found = {}
    for name in ("hopper", "walker2d", "halfcheetah", "ant"):
        for data in ("random", "medium", "expert", "medium-replay", "full-replay"):
            found[f"{name}-{data}-v2"] = f"gym_mujoco_v2/{name}_{data.replace('-', '_')}-v2.hdf5"
        for data in ("random", "medium", "expert", "medium-expert", "medium-replay"):
            found[f"bullet-{name}-{data}-v0"] = f"bullet/bullet-{name}_{data.replace('-', '_')}.hdf5"
    for maze, file in ANTMAZE.items():
        found[f"antmaze-{maze}-v2"] = f"ant_maze_v2/Ant_maze_{file}_sparse_fixed.hdf5"
    for reward, mark in (("sparse", ""), ("dense", "-dense")):
        found[f"maze2d-open{mark}-v0"] = f"maze2d/maze2d-open-{reward}.hdf5"
        for maze in ("umaze", "medium", "large", "eval-umaze", "eval-medium", "eval-large"):
            found[f"maze2d-{maze}{mark}-v1"] = f"maze2d/maze2d-{maze}-{reward}-v1.hdf5"
    for maze in ("open", "umaze", "medium", "large"):
        found[f"bullet-maze2d-{maze}-v0"] = f"bullet/bullet-maze2d-{maze}-sparse.hdf5"
    for tasks, file in KITCHEN.items():
        found[f"kitchen-{tasks}-v0"] = f"kitchen/{file}-v0.hdf5"
    return {f"d4rl/{name}": file for name, file in found.items()}


def parts(dataset_id: str) -> tuple[str, ...]:
    """The ids of the datasets that are one in the papers: expert and medium for a medium-expert of locomotion."""
    start, mark, end = dataset_id.partition("-medium-expert-v2")
    if mark and not end and f"{start}-expert-v2" in d4rl_files():
        return f"{start}-expert-v2", f"{start}-medium-v2"
    start, mark, end = dataset_id.partition("/medium-expert-v0")
    if mark and not end and start.startswith("minari/mujoco/"):
        return f"{start}/expert-v0", f"{start}/medium-v0"
    return (dataset_id,)
