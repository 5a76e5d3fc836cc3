"""Predictors: what the user ships."""

from headstart.predictor.heads import ConstantHead, Head, KernelHead, LinearHead
from headstart.predictor.predictor import Prediction, Predictor, load

__all__ = ["ConstantHead", "Head", "KernelHead", "LinearHead", "Prediction", "Predictor", "load"]
