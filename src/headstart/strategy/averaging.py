"""Several predictors as one: ensembles, of transfer routes as of baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.features import JoinedBody
from headstart.predictor import MeanHead, Predictor


def averaged(predictors: Sequence[Predictor]) -> Predictor:
    """One predictor whose probabilities are the mean of those of several (Hansen & Salamon 1990).

    Args:
        predictors: two or more, for the same classes, each of one body.
    """
    ends = np.cumsum([0, *(made.body.width for made in predictors)])
    columns = np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64)
    head = MeanHead([made.head for made in predictors], columns)
    return Predictor(predictors[0].classes, JoinedBody([made.body for made in predictors]), head)
