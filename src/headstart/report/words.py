"""Numbers and sentences as a person reads them: percent, points, durations, and the verdict in plain words."""

from __future__ import annotations

import math
from typing import Any

from headstart import strategy as strategies
from headstart.errors import plural
from headstart.judge.evidence import Evidence, LeaderboardRow, Route

ABSENT = "–"
_MINUS = "\N{MINUS SIGN}"
_GAP = "\N{NO-BREAK SPACE}"

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}


def percent(value: float | None, digits: int = 1) -> str:
    r"""A fraction in per cent.

    >>> percent(0.9542), percent(None), percent(1.0, digits=0)
    ('95.4\xa0%', '–', '100\xa0%')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return _signed(100 * value, digits, plus=False) + _GAP + "%"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of fractions in percentage points, with its sign.

    >>> points(0.294), points(-0.2), points(0.00001)
    ('+29.4', '−20.0', '0.0')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return _signed(100 * value, digits, plus=True)


def _signed(value: float, digits: int, *, plus: bool) -> str:
    text = f"{abs(value):,.{digits}f}"
    if not float(text.replace(",", "")):
        return text
    sign = _MINUS if value < 0 else "+" if plus else ""
    return sign + text


def count(value: float | None) -> str:
    """A count with thousands separated; a mean count keeps one decimal.

    >>> count(1797), count(2.4), count(None)
    ('1,797', '2.4', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    r"""Seconds as a person says them.

    >>> duration(0.042), duration(6.24), duration(48.3), duration(125), duration(3900), duration(None)
    ('0.042\xa0s', '6.2\xa0s', '48\xa0s', '2\xa0min 5\xa0s', '1\xa0h 5\xa0min', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds < 0.995:
        return f"{seconds:.2g}{_GAP}s" if seconds >= 0.001 else f"{seconds:.0g}{_GAP}s"
    if seconds < 9.95:
        return f"{seconds:.1f}{_GAP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_GAP}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{_GAP}min" + (f" {rest}{_GAP}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,}{_GAP}h" + (f" {minutes}{_GAP}min" if minutes else "")


def memory(mebibytes: float | None) -> str:
    r"""MiB, or GiB from 1,024 MiB on.

    >>> memory(812.4), memory(1945), memory(None)
    ('812\xa0MiB', '1.9\xa0GiB', '–')
    """
    if mebibytes is None or not math.isfinite(mebibytes):
        return ABSENT
    return f"{mebibytes:.0f}{_GAP}MiB" if mebibytes < 1023.5 else f"{mebibytes / 1024:.1f}{_GAP}GiB"


def large(value: float | None) -> str:
    r"""A large number in words of three figures.

    >>> large(4652008), large(812), large(398_000_000), large(12_000)
    ('4.65\xa0million', '812', '398\xa0million', '12\xa0thousand')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    for scale, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{_GAP}{word}"
    return f"{value:.3g}"


def parameters(values: dict[str, Any], strategy: str = "") -> str:
    """Hyper-parameters on one line; those that are not used (None) are left out, and so are a strategy's defaults.

    >>> parameters({"head": "ridge", "alpha": 0.1000001, "flip": True, "C": None})
    'head ridge, alpha 0.1, flip yes'
    >>> parameters({"covariance": "shrunk"}, "prototypes"), parameters({"covariance": "sphere"}, "prototypes")
    ('', 'covariance sphere')
    """
    known = strategies.STRATEGIES | strategies.ADAPTATIONS  # a report may be of a run of another version
    usual = strategies.parameters(known[strategy]()) if strategy in known else {}
    shown = {name: value for name, value in values.items() if value is not None and value != usual.get(name)}
    return ", ".join(f"{name} {_value(value)}" for name, value in shown.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def source(name: str) -> str:
    """A source's name without the adapter that every default has.

    >>> source("bundled:efficientnet_lite0"), source("timm:resnet50.a1_in1k")
    ('efficientnet_lite0', 'timm:resnet50.a1_in1k')
    """
    return name.removeprefix("bundled:").replace("+bundled:", "+")


def route(source_name: str, strategy: str) -> str:
    """A route in words: the strategy, and the source it starts from.

    >>> route("bundled:efficientnet_lite0", "probe"), route("scratch:small_cnn", "scratch")
    ('probe on efficientnet_lite0', 'small_cnn from scratch')
    >>> route("scratch", "majority"), route("scratch:small_cnn", "finetune")
    ('majority', 'finetune on small_cnn from scratch')
    """
    kind, _, architecture = source_name.partition(":")
    if kind == "scratch" and architecture:
        return f"{architecture} from scratch" if strategy == "scratch" else f"{strategy} on {architecture} from scratch"
    if kind == "scratch":
        return strategy
    return f"{strategy} on {source(source_name)}"


def route_of(item: Route | LeaderboardRow) -> str:
    """:func:`route` of a finalist or of a row of the leaderboard."""
    return route(item.source, item.strategy)


def metric(evidence: Evidence) -> str:
    """The primary metric's name."""
    return METRICS.get(evidence.metric, evidence.metric)


def interval(low: float, high: float, unit: str = "points") -> str:
    r"""`low` to `high`, in `points` or in `percent`.

    >>> interval(0.216, 0.366), interval(0.911, 0.979, "percent")
    ('+21.6 to +36.6', '91.1 to 97.9\xa0%')
    """
    if unit == "points":
        return f"{points(low)} to {points(high)}"
    return f"{percent(low).removesuffix(_GAP + '%')} to {percent(high)}"


def confidence(evidence: Evidence) -> str:
    """The level of the gain's interval, such as `95 %`."""
    return percent(evidence.gain.confidence, 0 if round(1000 * evidence.gain.confidence) % 10 == 0 else 1)


def sealed(evidence: Evidence) -> str:
    """What the verdict was measured on."""
    if evidence.target.split == "cross-fit":
        return f"{plural(evidence.n_test, 'example')}, each sealed in turn"
    return plural(evidence.n_test, "sealed test example")


def often(evidence: Evidence) -> str:
    """How often the finalists were trained: with how many seeds, or on how many draws of how many labels."""
    shots = evidence.shots
    if shots is None:
        return f"with {plural(evidence.seeds, 'seed')}"
    return f"over {plural(len(shots.draws), 'draw')} of {plural(shots.labels, 'label')} of each class"


def few_shot(evidence: Evidence) -> str:
    """What was done draw by draw, in sentences; "" where no draws were made."""
    shots = evidence.shots
    if shots is None:
        return ""
    classes = len(evidence.target.classes)
    each = shots.labels * classes
    text = (
        f"Each draw is {plural(each, 'label')}, {shots.labels} of each of {classes} classes, taken at random from the "
        f"{count(evidence.target.train)} outside the sealed test. Both finalists learned from it alone and were judged "
        "on a part of the sealed test that no other draw was judged on. "
    )
    text += (
        f"Two draws have {percent(shots.shared)} of their labels in common on average, and the intervals are widened "
        "for that. "
        if shots.shared
        else "No two draws have a label in common. "
    )
    return text + (
        "The routes were chosen, and their confidence scaled, once for all draws, on "
        f"{plural(shots.choosing, 'label')} that no draw learned from: these scores are of routes that are known "
        f"to suit, with {plural(shots.labels, 'label')} of each class."
    )


def headline(evidence: Evidence) -> str:
    """The verdict in one line.

    `Transfer helped: +29.4 points of balanced accuracy`.
    """
    size = f"{points(evidence.gain.estimate)} points of {metric(evidence)}"
    what, given = "Transfer", ""
    if evidence.adaptation is not None:
        what = "Adaptation"
        if evidence.adaptation.learned:
            given = f", given {plural(evidence.adaptation.learned, 'target label')}"
    if evidence.verdict == "undetermined":
        return f"Undetermined: {what.lower()} was not shown to help, nor to hurt{given}"
    return f"{what} {evidence.verdict}: {size}{given}"


def sentence(evidence: Evidence) -> str:
    """The verdict in one exact sentence, with both scores, the gain and its interval."""
    gain = evidence.gain
    if evidence.adaptation is not None:
        return _adapted(evidence)
    return (
        f"The best transfer route, {route_of(evidence.transfer)}, reached {percent(evidence.transfer.score)} "
        f"{metric(evidence)}; the best baseline, {route_of(evidence.baseline)}, reached "
        f"{percent(evidence.baseline.score)}. That is a gain of {points(gain.estimate)} points "
        f"({confidence(evidence)} interval {interval(gain.low, gain.high)}), measured on {sealed(evidence)}, "
        f"{often(evidence)}."
    )


def _adapted(evidence: Evidence) -> str:
    """As :func:`sentence`, of an adaptation."""
    gain, found = evidence.gain, evidence.adaptation
    assert found is not None
    given = f"Given {plural(found.learned, 'label')} of the target, " if found.learned else "Without a target label, "
    return (
        f"{given}{evidence.transfer.strategy} reached {percent(evidence.transfer.score)} {metric(evidence)} on the "
        f"target, and {evidence.baseline.strategy} {percent(evidence.baseline.score)}. That is a gain of "
        f"{points(gain.estimate)} points ({confidence(evidence)} interval {interval(gain.low, gain.high)}), measured "
        f"on {sealed(evidence)}."
    )


def meaning(evidence: Evidence) -> str:
    """What the verdict means for the reader, without a number that :func:`sentence` already gave."""
    if evidence.adaptation is not None and evidence.verdict != "undetermined":
        side, what = ("above", "helps") if evidence.verdict == "helped" else ("below", "does harm")
        return (
            f"The whole interval lies {side} zero: on this target adaptation {what}, beyond what chance in this test "
            "set could feign."
        )
    if evidence.verdict == "helped":
        text = (
            "The whole interval lies above zero: knowledge from the pretrained model helps on these data, beyond what "
            "chance in this test set could feign."
        )
    elif evidence.verdict == "hurt":
        text = (
            "The whole interval lies below zero: this is negative transfer. On these data, starting from the "
            "pretrained model is worse than learning from the examples alone."
        )
    else:
        text = "The interval includes zero, so this test can prove neither."
        if evidence.minimal_detectable_gain > 0:
            text += (
                f" It could have shown a gain of {points(evidence.minimal_detectable_gain).lstrip('+')} points or more "
                f"(with 80{_GAP}% power)."
            )
        if evidence.examples_to_settle is not None:
            text += (
                f" If the gain really is as large as observed, about {count(evidence.examples_to_settle)} test "
                "examples would settle it."
            )
    return text


PARTIAL = (
    "It stopped before its plan was done. Every number below was measured, on the same sealed examples and by the same "
    "rules; but routes that were still to come are absent, and the finalists may have been tuned less, or trained with "
    "fewer seeds, than planned. The same command takes the run up where it stopped."
)
