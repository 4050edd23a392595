"""Readers: one file for each source of data. `dmm.data.Reader` describes their functions.

d4rl.py    files in D4RL's HDF5 layout
minari.py  Minari datasets on this machine
dqn.py     the DQN replay of Atari games, which can be downloaded and not read so far
dmm.py     our own datasets, which are collected at their first use
"""
