"""Features: inputs to vectors, computed once and kept."""

from headstart.features.augment import Augmentation
from headstart.features.body import Body, CutBody, EmptyBody, HandcraftedBody, NetworkBody, View, restore
from headstart.features.extract import Tally, extract, extract_parts

__all__ = [
    "Augmentation",
    "Body",
    "CutBody",
    "EmptyBody",
    "HandcraftedBody",
    "NetworkBody",
    "Tally",
    "View",
    "extract",
    "extract_parts",
    "restore",
]
