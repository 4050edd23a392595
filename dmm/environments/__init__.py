"""Environments.

vector_env.py  many environments that are stepped as one
antmaze.py     AntMaze: D4RL's, and gymnasium-robotics'
atari.py       episodes of Atari games side by side
"""
