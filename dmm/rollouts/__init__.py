"""Rollouts of a trained model.

rollout.py  episodes in lock-step, and evaluations made of them
actions.py  from a prediction to an action
history.py  the input of the model at each step: a window of the last K steps, or a recurrent state
"""
