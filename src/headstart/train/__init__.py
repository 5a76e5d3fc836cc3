"""One training loop."""

from headstart.train.data import Augmentation, Pictures
from headstart.train.loop import History, Plan, train
from headstart.train.task import Classification, Task
from headstart.train.trainable import Trainable

__all__ = ["Augmentation", "Classification", "History", "Pictures", "Plan", "Task", "Trainable", "train"]
