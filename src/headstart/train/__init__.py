"""One training loop."""

from headstart.train.adaptation import UNLABELLED, TwoDomains
from headstart.train.average import robust, soup
from headstart.train.data import Batches, CutValues, Pictures
from headstart.train.loop import History, Plan, train
from headstart.train.rates import chosen_rate, range_test
from headstart.train.task import Classification, Contrast, Mixed, Task
from headstart.train.texts import CutTexts, Texts
from headstart.train.trainable import Trainable

__all__ = [
    "UNLABELLED",
    "Batches",
    "Classification",
    "Contrast",
    "CutTexts",
    "CutValues",
    "History",
    "Mixed",
    "Pictures",
    "Plan",
    "Task",
    "Texts",
    "Trainable",
    "TwoDomains",
    "chosen_rate",
    "range_test",
    "robust",
    "soup",
    "train",
]
