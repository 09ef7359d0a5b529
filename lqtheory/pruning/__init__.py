"""Pruning in small pieces that compose: a score of each weight, a budget of each neuron, a mask, an export."""

from .budgets import (
    global_ranking as global_ranking,
    keep_rule as keep_rule,
    keep_rule_at_total as keep_rule_at_total,
    kept_total as kept_total,
    uniform as uniform,
)
from .export import write_pruned as write_pruned
from .masks import Method as Method, largest_scores as largest_scores
from .scores import Layer as Layer, magnitude as magnitude, wanda as wanda
