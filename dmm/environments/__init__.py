"""Environments.

vector_env.py  many environments that are stepped as one
atari.py       episodes of Atari games side by side
"""
