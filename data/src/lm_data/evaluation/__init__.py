"""Evaluation of base models, and the baselines that they have to beat."""
