"""The user's data: readers, Target, TrainView, Seal, hygiene."""

from headstart.target.hygiene import Hygiene
from headstart.target.image import UnreadableImage, open_image
from headstart.target.inputs import ArrayInputs, DatasetInputs, Inputs, PathInputs, as_inputs
from headstart.target.readers import READERS, Reader, load_target
from headstart.target.seal import Seal
from headstart.target.target import Episode, Target
from headstart.target.view import Examples, TrainView

__all__ = [
    "READERS",
    "ArrayInputs",
    "DatasetInputs",
    "Episode",
    "Examples",
    "Hygiene",
    "Inputs",
    "PathInputs",
    "Reader",
    "Seal",
    "Target",
    "TrainView",
    "UnreadableImage",
    "as_inputs",
    "load_target",
    "open_image",
]
