"""Atari: the 57 games of the usual table, and tasks for the eight of the papers.

A step is four frames of the emulator. A state is the last four steps' frames: grey, 84 x 84, each the maximum of the step's
last two frames of the emulator. The data were made in this way (dmm/data/readers/dqn.py).
"""

from typing import NamedTuple

from dmm.batch import Spaces
from dmm.tasks.task import Task

FRAMES = (4, 84, 84)  # of a state: the last four, oldest first, height, width


class Game(NamedTuple):
    """A game of the Atari-57 table. Scores are returns without clipping."""

    name: str  # Gymnasium's, which is also the folder's in DQN-replay
    actions: int  # the minimal action set of ALE 0.12
    random: float  # mean return of random play
    human: float  # mean return of a human player


# Scores: google-deepmind/dqn_zoo, atari_data.py at 3599; Wang et al. 2016 (arXiv 1511.06581) print the same
GAMES = {
    "alien": Game("Alien", 18, 227.8, 7127.7),
    "amidar": Game("Amidar", 10, 5.8, 1719.5),
    "assault": Game("Assault", 7, 222.4, 742.0),
    "asterix": Game("Asterix", 9, 210.0, 8503.3),
    "asteroids": Game("Asteroids", 14, 719.1, 47388.7),
    "atlantis": Game("Atlantis", 4, 12850.0, 29028.1),
    "bank_heist": Game("BankHeist", 18, 14.2, 753.1),
    "battle_zone": Game("BattleZone", 18, 2360.0, 37187.5),
    "beam_rider": Game("BeamRider", 9, 363.9, 16926.5),
    "berzerk": Game("Berzerk", 18, 123.7, 2630.4),
    "bowling": Game("Bowling", 6, 23.1, 160.7),
    "boxing": Game("Boxing", 18, 0.1, 12.1),
    "breakout": Game("Breakout", 4, 1.7, 30.5),
    "centipede": Game("Centipede", 18, 2090.9, 12017.0),
    "chopper_command": Game("ChopperCommand", 18, 811.0, 7387.8),
    "crazy_climber": Game("CrazyClimber", 9, 10780.5, 35829.4),
    "defender": Game("Defender", 18, 2874.5, 18688.9),
    "demon_attack": Game("DemonAttack", 6, 152.1, 1971.0),
    "double_dunk": Game("DoubleDunk", 18, -18.6, -16.4),
    "enduro": Game("Enduro", 9, 0.0, 860.5),
    "fishing_derby": Game("FishingDerby", 18, -91.7, -38.7),
    "freeway": Game("Freeway", 3, 0.0, 29.6),
    "frostbite": Game("Frostbite", 18, 65.2, 4334.7),
    "gopher": Game("Gopher", 8, 257.6, 2412.5),
    "gravitar": Game("Gravitar", 18, 173.0, 3351.4),
    "hero": Game("Hero", 18, 1027.0, 30826.4),
    "ice_hockey": Game("IceHockey", 18, -11.2, 0.9),
    "jamesbond": Game("Jamesbond", 18, 29.0, 302.8),
    "kangaroo": Game("Kangaroo", 18, 52.0, 3035.0),
    "krull": Game("Krull", 18, 1598.0, 2665.5),
    "kung_fu_master": Game("KungFuMaster", 14, 258.5, 22736.3),
    "montezuma_revenge": Game("MontezumaRevenge", 18, 0.0, 4753.3),
    "ms_pacman": Game("MsPacman", 9, 307.3, 6951.6),
    "name_this_game": Game("NameThisGame", 6, 2292.3, 8049.0),
    "phoenix": Game("Phoenix", 8, 761.4, 7242.6),
    "pitfall": Game("Pitfall", 18, -229.4, 6463.7),
    "pong": Game("Pong", 6, -20.7, 14.6),
    "private_eye": Game("PrivateEye", 18, 24.9, 69571.3),
    "qbert": Game("Qbert", 6, 163.9, 13455.0),
    "riverraid": Game("Riverraid", 18, 1338.5, 17118.0),
    "road_runner": Game("RoadRunner", 18, 11.5, 7845.0),
    "robotank": Game("Robotank", 18, 2.2, 11.9),
    "seaquest": Game("Seaquest", 18, 68.4, 42054.7),
    "skiing": Game("Skiing", 3, -17098.1, -4336.9),
    "solaris": Game("Solaris", 18, 1236.3, 12326.7),
    "space_invaders": Game("SpaceInvaders", 6, 148.0, 1668.7),
    "star_gunner": Game("StarGunner", 18, 664.0, 10250.0),
    "surround": Game("Surround", 5, -10.0, 6.5),
    "tennis": Game("Tennis", 18, -23.8, -8.3),
    "time_pilot": Game("TimePilot", 10, 3568.0, 5229.2),
    "tutankham": Game("Tutankham", 8, 11.4, 167.6),
    "up_n_down": Game("UpNDown", 6, 533.4, 11693.2),
    "venture": Game("Venture", 18, 0.0, 1187.5),
    "video_pinball": Game("VideoPinball", 9, 16256.9, 17667.9),
    "wizard_of_wor": Game("WizardOfWor", 10, 563.5, 4756.5),
    "yars_revenge": Game("YarsRevenge", 18, 3092.9, 54576.9),
    "zaxxon": Game("Zaxxon", 18, 32.5, 9173.3),
}

# Returns asked for, of clipped rewards. DT's and DMM's papers print 2500 for Qbert and 1450 for Seaquest
TARGETS = {
    "assault": 780.0, "asterix": 520.0, "breakout": 90.0, "frostbite": 950.0, "gopher": 2750.0, "pong": 20.0, "qbert": 14000.0,
    "seaquest": 1150.0,
}  # fmt: skip

# of ALE's vector environment, so under its names: dmm/environments/atari.py
OPTIONS = (
    ("frameskip", 4),
    ("maxpool", True),  # over the last two frames of a step
    ("max_num_frames_per_episode", 108_000),  # of the emulator
    ("noop_max", 30),  # an episode begins with 0 to 29 frames without an action
    ("repeat_action_probability", 0.0),  # the data of DQN-replay were made with 0.25
)

TASKS = tuple(
    Task(
        name=name,
        environment=f"ALE/{GAMES[name].name}-v5",
        spaces=Spaces(states=FRAMES, actions=GAMES[name].actions, discrete=True),
        horizon=27_000,
        return_scale=1.0,
        reward_clip=1.0,
        target_return=target,
        ref_min_score=GAMES[name].random,
        ref_max_score=GAMES[name].human,
        source="reference scores: random and human of the Atari-57 table (dqn_zoo); target x1: the scripts of the Decision "
        "Transformer and of Decision ConvFormer",
        options=OPTIONS,
    )
    for name, target in TARGETS.items()
)
