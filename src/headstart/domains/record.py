"""Whether a way of adaptation is shipped without a target label: by its record on other data, and by what it changes.

Validators say little of whether an adaptation is right (decision 0031). What did well on other pairs of domains mostly
does well on the next, so the way with the best record is the one that may be shipped: a deep one where those were ahead
of the best shallow one (decision 0034), else that one. Two things forbid it. Where the domains overlap there is little
to win. And where it changes hardly more than the balance of classes, it may be undoing a label shift: then the same
target inputs are explained by classes that are rarer there, nothing but a label tells, and the wrong explanation costs
far more than the right one gains. It is believed only where the source's model is visibly less sure of the target, so
that there is something to mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from headstart.domains.labels import softmax
from headstart.domains.validate import APART, Agreement, Seen, calibration, guarded

CAP = 0.1
"""No pair counts for more in a record: one family in which everything helps would decide alone."""
FLOW = 0.7
"""Share of the changed predictions up to which their net flow between classes is no label shift."""
LEAD_FLOW = 0.0
"""The same of ways that are ahead of the usual one. Deep ones adapt to statistics of the whole target, and ways over
domains in between go further from the source: a label shift leads both astray, and need not show as such flow. They are
believed only where there is something to mend."""
DROP = 0.08
"""Confidence that the source's model must lose on the target, where more of what changes is such flow."""

BEHIND = 0.01
"""A way that in any family is behind the usual shallow one by more than this is not shipped instead of it."""

FAMILIES = ("simulated", "office", "digits", "pacs", "reviews")
_GAINS = {
    "coral": (0.1, 0.0077, 0.0324, 0.0664, 0.0033),
    "coral (ridge None)": (0.1, 0.0086, 0.06, 0.0613, 0.0037),
    "subspace": (0.1, 0.0403, 0.0387, 0.0708, -0.0439),
    "subspace (width 80)": (0.1, 0.0387, 0.0405, 0.0641, -0.0121),
    "tca": (0.1, 0.0433, 0.0463, 0.0494, -0.0237),
    "tca (rounds 10)": (0.1, 0.0519, 0.0438, 0.0668, -0.0271),
    "tca (width 80, rounds 10)": (0.1, 0.03, 0.0528, 0.0455, -0.0083),
    "transport": (0.026, -0.0482, -0.0108, -0.0144, -0.046),
    "transport (strength 0.0)": (0.0258, -0.0139, -0.0025, 0.0433, -0.0193),
    "transport (rounds 10)": (0.0742, 0.0091, 0.0819, 0.0735, 0.0067),
    "reweight": (0.0005, -0.0063, -0.1, 0.0144, -0.0443),
    "reweight (weights rulsif, flat 1.0)": (-0.0137, -0.0145, -0.0728, 0.0068, -0.0118),
    "reweight (weights kliep, flat 1.0)": (0.0068, 0.001, -0.0897, -0.0057, -0.0043),
    "reweight (weights kmm, flat 1.0)": (-0.0213, -0.0249, -0.0649, -0.024, -0.0555),
    "label-shift": (0.0078, -0.0549, -0.0338, -0.0643, -0.0401),
    "label-shift (shares bbse)": (0.0065, -0.0358, -0.0309, -0.054, -0.032),
    "self-train": (0.1, 0.023, 0.1, 0.0876, 0.018),
    "self-train (aligned False)": (-0.0755, -0.017, 0.0138, 0.036, 0.0145),
    "tri-train": (0.1, 0.0446, 0.1, 0.0881, 0.0186),
    "propagate": (-0.0682, 0.0198, 0.0978, 0.0811, -0.0398),
    "propagate (alpha 0.99)": (-0.0845, -0.0121, 0.085, 0.0024, -0.0569),
}
RECORD = {family: {way: gains[i] for way, gains in _GAINS.items()} for i, family in enumerate(FAMILIES)}
"""Family of pairs of domains -> way -> mean gain in accuracy over source-only, on pairs whose domains are apart.

No pair counts for more than `CAP`. As `benchmarks/adapt.py` measured it with the target's labels; `python -m
benchmarks.adapt` prints it.
"""
PICTURES = ("pacs", "digit pictures", "corrupted")
_LEADS = {
    "adabn-tri-train": (0.0435, 0.0827, -0.0072),
    "shot": (0.0458, 0.077, -0.0102),
    "adabn": (-0.0362, 0.007, -0.0241),
}
AHEAD = {family: {way: leads[i] for way, leads in _LEADS.items()} for i, family in enumerate(PICTURES)}
"""Family of pairs of domains of pictures -> deep way -> mean lead in accuracy over the usual shallow way.

Deep ways were measured on pictures alone, so that their means over the families of `RECORD` would be of other pairs
than those of the shallow ways. They are compared with the one that is shipped otherwise, on the same pairs, those whose
domains are apart, and on features of the same network. No pair's lead counts for more than `CAP`, however much both
gain. As `benchmarks/adapt_deep.py` measured it; `python -m benchmarks.adapt_deep` prints it.
"""
_OVER = {
    "gradual": (0.0882, 0.0112, -0.0013, -0.0079),
    "gradual (teacher tri-train)": (0.0801, -0.0022, 0.0145, -0.0006),
    "adabn-gradual": (0.1, 0.0257, 0.0449),
    "adabn-tri-train": (-0.0229, 0.0026, 0.0522),
}
CHAINS = ("rotated", "worse cameras", "styles", "products")
_OF_TEXTS = ("products",)
STEPS = {family: {way: found[i] for way, found in _OVER.items() if i < len(found)} for i, family in enumerate(CHAINS)}
"""Family of chains of domains -> way -> mean lead over the usual shallow way, where domains in between are given.

As `AHEAD`, over chains source, intermediate, target; the usual way adapts from the source to the target at once. As
`benchmarks/adapt_gradual.py` measured it; `python -m benchmarks.adapt_gradual` prints it. Of texts there are no ways by
statistics of batch norm.
"""
GRADUAL = ("gradual", "gradual (teacher tri-train)")
"""Ways over domains in between that need nothing of the network but features."""


def leads_of(modality: str, *, intermediate: bool) -> list[dict[str, float]]:
    """The leads that count for what may be shipped, by family.

    Args:
        modality: of the domains. Deep ways have a record on pictures alone.
        intermediate: domains between source and target are given.
    """
    if intermediate:
        return [found for family, found in STEPS.items() if modality == "text" or family not in _OF_TEXTS]
    return list(AHEAD.values()) if modality == "image" else []


def usual(names: Iterable[str], families: Iterable[Mapping[str, float]]) -> str | None:
    """The way with the best mean record over families; None where none of `names` gained anything on average.

    Args:
        names: of the ways that there are.
        families: of each its ways' gains, as in `RECORD`, or their leads, as in `AHEAD`. Whoever judges a choice leaves
            out the family that the choice is about.
    """
    found = list(families)
    means = {
        name: float(np.mean([family[name] for family in found]))
        for name in names
        if found and all(name in family for family in found)
    }
    best = max(means, key=lambda name: means[name], default=None)
    return best if best is not None and means[best] > 0 else None


@dataclass(frozen=True)
class Change:
    """What an adaptation changes of what source-only says of the target.

    Args:
        changed: share of the target's examples of which they say another class.
        flow: net flow between classes (total variation of the two shares of classes) as a share of `changed`: 1 where
            all that changes is how often each class is said.
        drop: mean confidence of source-only on held-out source examples less that on the target, calibrated on the
            former (difference of confidences; Guillory et al. 2021).
    """

    changed: float
    flow: float
    drop: float


def change(reference: Seen, model: Seen) -> Change:
    """What `model` changes of what `reference`, which is source-only, says of the target."""
    classes = reference.asked.shape[1]
    before, after = (seen.asked.argmax(axis=1) for seen in (reference, model))
    changed = float((before != after).mean())
    shares = [np.bincount(said, minlength=classes) / len(said) for said in (before, after)]
    moved = float(np.abs(shares[0] - shares[1]).sum()) / 2
    scale, _ = calibration(reference)
    sure = [float(softmax(scale * logs).max(axis=1).mean()) for logs in (reference.held, reference.asked)]
    return Change(changed, moved / changed if changed else 0.0, sure[0] - sure[1])


@dataclass(frozen=True)
class Decision:
    """What is shipped, and why.

    Args:
        rival: the adaptation that may be shipped.
        shipped: that one, or source-only.
        reason: in a sentence.
        change: what the rival changes; None where it has no record, and validators decided.
    """

    rival: str
    shipped: str
    reason: str
    change: Change | None


def wanted(
    names: Iterable[str],
    families: Iterable[Mapping[str, float]] | None = None,
    leads: Iterable[Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """The ways with a record that may be shipped, of which the first that the guard allows is.

    Each with the share of its changes up to which the guard takes their flow for no label shift.

    Args:
        names: of the ways that there are.
        families: as for :func:`usual`; None: all of `RECORD`.
        leads: over the shallow way with the best record, likewise; None: all of `AHEAD`. The one that is most ahead on
            average is wanted, of those that are `BEHIND` nowhere.
    """
    names, leads = list(names), list(AHEAD.values() if leads is None else leads)
    safe = [name for name in names if all(family.get(name, -1.0) >= -BEHIND for family in leads)]
    ahead = usual(safe, leads)
    shallow = usual(names, RECORD.values() if families is None else families)
    return {way: flow for way, flow in ((ahead, LEAD_FLOW), (shallow, FLOW)) if way is not None}


def decided(
    said: Agreement,
    seen: Mapping[str, Seen],
    reference: str,
    adapted: Iterable[str],
    *,
    families: Iterable[Mapping[str, float]] | None = None,
    leads: Iterable[Mapping[str, float]] | None = None,
) -> Decision:
    """Choose between source-only and an adaptation.

    Args:
        said: what validators say; they decide where no way has a record.
        seen: what they saw of each model.
        reference: source-only.
        adapted: the other models that may be shipped, the one that validators rank first first.
        families: as for :func:`wanted`.
        leads: likewise.
    """
    names = list(adapted)
    ways = wanted(names, families, leads)
    if not ways:
        shipped, reason = guarded(said, reference)
        return Decision(names[0], shipped, reason, None)
    return first_allowed(ways, {way: change(seen[reference], seen[way]) for way in ways}, said.apart, reference)


def first_allowed(ways: Mapping[str, float], changes: Mapping[str, Change], apart: float, reference: str) -> Decision:
    """The first way that the guard lets pass is shipped; where it lets none pass, source-only is.

    Args:
        ways: one or more, as :func:`wanted` gives them.
        changes: what each changes.
        apart: as for :func:`allowed`.
        reference: the name of source-only.
    """
    found = [(way, *allowed(way, changes[way], apart, reference, flow=flow)) for way, flow in ways.items()]
    way, fine, reason = next((each for each in found if each[1]), found[0])
    if way != (first := found[0][0]):
        reason += f" {first} did better still, but is believed only where {reference} is less sure of the target."
    return Decision(way, way if fine else reference, reason, changes[way])


def allowed(
    way: str, what: Change, apart: float, reference: str, *, flow: float = FLOW, drop: float = DROP
) -> tuple[bool, str]:
    """Whether a way with a record may be shipped, and why, in a sentence.

    Args:
        way: its name.
        what: it changes.
        apart: how well a classifier tells the domains apart, as the area under its ROC curve.
        reference: the name of source-only.
        flow: see `FLOW`.
        drop: see `DROP`.
    """
    if apart < APART:
        return False, (
            f"the domains overlap: the area under the ROC curve of a classifier of domains is {apart:.2f}, and below "
            f"{APART:.2f} adaptation has little to win."
        )
    best = f"{way} has the best record on other data"
    if what.flow <= flow:
        more = f"{100 * (1 - what.flow):.0f} % of what it changes is more than how often each class is said"
        return True, f"{best}, the domains are apart, and {more}."
    points = "1 point" if round(100 * abs(what.drop)) == 1 else f"{100 * abs(what.drop):.0f} points"
    sure = f"{reference} is {points} {'less' if what.drop >= 0 else 'more'} sure of the target"
    if what.drop >= drop:
        return True, f"{best}, the domains are apart, and {sure} than of the source: there is something to mend."
    return False, (
        f"{best}, but {100 * what.flow:.0f} % of what it changes is only how often each class is said, and {sure} than "
        "of the source. It may undo a label shift, where adaptation does harm; a few labelled target examples would "
        "tell (--target-labels 2)."
    )
