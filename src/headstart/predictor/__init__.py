"""Predictors: what the user ships."""

from headstart.predictor.heads import ConstantHead, ConvexHead, CosineHead, Head, KernelHead, LinearHead
from headstart.predictor.predictor import Prediction, Predictor, load

__all__ = [
    "ConstantHead",
    "ConvexHead",
    "CosineHead",
    "Head",
    "KernelHead",
    "LinearHead",
    "Prediction",
    "Predictor",
    "load",
]
