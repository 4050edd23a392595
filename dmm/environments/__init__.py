"""Environments.

vector_env.py  many environments that are stepped as one
antmaze.py     AntMaze: D4RL's, and gymnasium-robotics'
atari.py       lanes of Atari games
lanes.py       lanes: episodes of any task side by side
"""
