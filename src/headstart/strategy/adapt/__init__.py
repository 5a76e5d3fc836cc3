"""Adapt: Source x TrainView -> Predictor, a file per method."""
