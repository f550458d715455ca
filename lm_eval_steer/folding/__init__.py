"""Steering folded into weights: a shift of every position is a bias, which a checkpoint can hold without any hook."""
