"""The losses of tuning."""

import numpy as np
import torch
from torch import Tensor, nn

from ..steer.head import Task
from .problem import Problem


def loss_of(task: Task, scores: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of classes or labels, or the mean square error of a number."""
    scores = scores.float()
    if task == "class":
        return nn.functional.cross_entropy(scores, values, weights)
    if task == "labels":
        return nn.functional.binary_cross_entropy_with_logits(scores, values, pos_weight=weights)
    return nn.functional.mse_loss(scores[:, 0], values.float())


def weights_of(problem: Problem) -> Tensor:
    """Weights of classes, or of a label's presence; all 1 unless balanced."""
    targets, train = problem.targets, problem.split.train
    if targets.task == "number" or not problem.source.balanced:
        return torch.ones(targets.outputs)
    values = targets.values[train]
    if targets.task == "labels":
        held = values.sum(axis=0)
        return torch.from_numpy(((len(values) - held) / np.maximum(held, 1)).astype(np.float32))
    counts = np.maximum(np.bincount(values, minlength=targets.outputs), 1)
    return torch.from_numpy((len(values) / (targets.outputs * counts)).astype(np.float32))
