"""Rollouts of a trained model."""
