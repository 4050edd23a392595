"""Environments.

vector_env.py  many environments that are stepped as one
"""
