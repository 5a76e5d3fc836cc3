"""Features: inputs to vectors, computed once and kept."""

from headstart.features.body import Body, EmptyBody, HandcraftedBody, NetworkBody, restore
from headstart.features.extract import Tally, extract
from headstart.features.store import Store

__all__ = ["Body", "EmptyBody", "HandcraftedBody", "NetworkBody", "Store", "Tally", "extract", "restore"]
