"""Readers: one file for each source of data. `dmm.data.Reader` describes their functions.

d4rl.py    files in D4RL's HDF5 layout
minari.py  Minari datasets on this machine
dqn.py     DQN-replay: frames of Atari games
dmm.py     our own datasets, which are collected at their first use
"""
