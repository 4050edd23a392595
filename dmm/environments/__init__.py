"""Environments.

vector_env.py  many environments that are stepped as one
lanes.py       lanes: episodes of any task side by side
antmaze.py     AntMaze: D4RL's, and gymnasium-robotics'
pointmaze.py   PointMaze of gymnasium-robotics
maze2d.py      D4RL's maze2d
point_mass.py  the step of the point masses of both
atari.py       lanes of Atari games
atari_game.py  one Atari game, for behaviours that read its memory
screens.py     a screen of ALE, shrunk to a frame
"""
