"""Predictors: what the user ships."""

from headstart.predictor.heads import ConstantHead, ConvexHead, CosineHead, Head, KernelHead, LinearHead, MeanHead
from headstart.predictor.predictor import Prediction, Predictor, load

__all__ = [
    "ConstantHead",
    "ConvexHead",
    "CosineHead",
    "Head",
    "KernelHead",
    "LinearHead",
    "MeanHead",
    "Prediction",
    "Predictor",
    "load",
]
