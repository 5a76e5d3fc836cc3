"""One training loop."""

from headstart.train.data import Batches, CutValues, Pictures
from headstart.train.loop import History, Plan, train
from headstart.train.task import Classification, Contrast, Task
from headstart.train.texts import CutTexts, Texts
from headstart.train.trainable import Trainable

__all__ = [
    "Batches",
    "Classification",
    "Contrast",
    "CutTexts",
    "CutValues",
    "History",
    "Pictures",
    "Plan",
    "Task",
    "Texts",
    "Trainable",
    "train",
]
