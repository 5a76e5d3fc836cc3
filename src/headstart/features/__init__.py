"""Features: inputs to vectors, computed once and kept."""

from headstart.features.augment import Augmentation
from headstart.features.body import Body, EmptyBody, HandcraftedBody
from headstart.features.extract import Tally, extract, extract_parts
from headstart.features.joined import JoinedBody
from headstart.features.network import CutBody, NetworkBody, View
from headstart.features.restore import body_of, restore
from headstart.features.text import TextBody
from headstart.features.tfidf import TfidfBody

__all__ = [
    "Augmentation",
    "Body",
    "CutBody",
    "EmptyBody",
    "HandcraftedBody",
    "JoinedBody",
    "NetworkBody",
    "Tally",
    "TextBody",
    "TfidfBody",
    "View",
    "body_of",
    "extract",
    "extract_parts",
    "restore",
]
