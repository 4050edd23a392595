"""Environments.

vector_env.py  many environments that are stepped as one
atari.py       lanes of Atari games
lanes.py       lanes: episodes of any task side by side
"""
