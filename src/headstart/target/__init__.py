"""The user's data: readers, Target, TrainView, Seal, hygiene."""

from headstart.target.hygiene import Hygiene
from headstart.target.image import UnreadableImage, open_image
from headstart.target.inputs import (
    ArrayInputs,
    DatasetInputs,
    ImageInputs,
    Inputs,
    PathInputs,
    StringInputs,
    TextFileInputs,
    TextInputs,
    as_inputs,
)
from headstart.target.modality import MODALITIES, Modality
from headstart.target.readers import READERS, Reader, load_target
from headstart.target.seal import Seal
from headstart.target.shots import drawn
from headstart.target.target import Episode, Shots, Target
from headstart.target.text import UnreadableText
from headstart.target.unreadable import Unreadable
from headstart.target.view import Examples, TrainView

__all__ = [
    "MODALITIES",
    "READERS",
    "ArrayInputs",
    "DatasetInputs",
    "Episode",
    "Examples",
    "Hygiene",
    "ImageInputs",
    "Inputs",
    "Modality",
    "PathInputs",
    "Reader",
    "Seal",
    "Shots",
    "StringInputs",
    "Target",
    "TextFileInputs",
    "TextInputs",
    "TrainView",
    "Unreadable",
    "UnreadableImage",
    "UnreadableText",
    "as_inputs",
    "drawn",
    "load_target",
    "open_image",
]
