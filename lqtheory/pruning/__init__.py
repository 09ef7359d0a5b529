"""Pruning in small pieces that compose: scores of weights, budgets of neurons, masks; `export` writes them."""

from .budgets import (
    global_ranking as global_ranking,
    keep_rule as keep_rule,
    keep_rule_at_total as keep_rule_at_total,
    kept_total as kept_total,
    uniform as uniform,
)
from .masks import Method as Method, largest_scores as largest_scores
from .scores import Layer as Layer, magnitude as magnitude, wanda as wanda
