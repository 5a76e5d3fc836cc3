"""For tests, ours and yours: toy sources, planted targets, and one contract suite for each extension point."""

from headstart.testing.contracts import check_adapt, check_all, check_reader, check_source
from headstart.testing.planted import Planted, negative, null, positive
from headstart.testing.texts import ToyTextSource, planted_texts, text_target
from headstart.testing.toys import Failing, ToySource, registered

__all__ = [
    "Failing",
    "Planted",
    "ToySource",
    "ToyTextSource",
    "check_adapt",
    "check_all",
    "check_reader",
    "check_source",
    "negative",
    "null",
    "planted_texts",
    "positive",
    "registered",
    "text_target",
]
