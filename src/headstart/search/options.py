"""What a run may do: sources, strategies, budget; and the settings that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart import source as sources
from headstart import strategy as strategies
from headstart.budget import Budget
from headstart.errors import OptionError, Problem, RunError, SourceError, unknown
from headstart.search.precision import AUTO, PRECISIONS
from headstart.search.setting import Setting, settings
from headstart.strategy import Adapt, Pinned

SHOWN = 5  # names in a message
LOCAL = "local"
ENGINES = (LOCAL,)
MOST_JOINED = 3  # sources of the ensemble that is tried without being asked for


@dataclass(frozen=True)
class Options:
    """What a run may do.

    Args:
        sources: names of pretrained sources; empty: the bundled ones.
        strategies: names of strategies, with hyper-parameters that are decided, `finetune(last=1)`; no transfer
            strategy among them: all of those. Baselines without a network always run; those that train one are left out
            where the transfer strategies named train none, and where other baselines were named.
        budget: seconds or trials.
        seed: of everything random that is not a trial's own seed.
        device: `cpu`, or a torch device.
        command: how to start this run again, for the report.
        precision: of frozen features on the CPU: `f32`, `bf16`, or `auto`: bf16 where a check on the target's own
            examples allows it; see :mod:`headstart.search.precision`.
        engine: what executes the trials: `local`, one after the other in this process.
    """

    sources: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    budget: Budget = field(default_factory=lambda: Budget(seconds=120))
    seed: int = 0
    device: str = "cpu"
    command: str = ""
    precision: str = AUTO
    engine: str = LOCAL

    def check(self) -> None:
        """Find out what is wrong with the names before the data is read.

        Raises:
            SourceError: sources are unknown, and nothing else is wrong.
            OptionError: a strategy, the precision or the engine is unknown, or nothing is left to compare. Everything
                that is unknown is told at once.
        """
        problems: list[Problem] = []
        if self.precision not in PRECISIONS:
            problems.append(unknown("precision", self.precision, PRECISIONS))
        if self.engine not in ENGINES:
            problems.append(unknown("engine", self.engine, ENGINES))
        wrong: SourceError | None = None
        try:
            sources.cards(self.sources)
        except SourceError as error:
            wrong = error
        try:
            self.kinds()
        except OptionError as error:
            problems += error.problems
        if wrong is not None:
            raise OptionError([*wrong.problems, *problems]) if problems else wrong
        if problems:
            raise OptionError(problems)
        named = [card.modality for card in sources.cards(self.sources) if card.modality]
        self.settings(named[0] if named else "image")

    def settings(self, modality: str = "image", wordless: Sequence[str] = ()) -> list[Setting]:
        """Everything that may be tried on a target.

        Args:
            modality: what the target's examples are made of.
            wordless: classes that have neither a name in words nor a description.

        Raises:
            SourceError: a source is unknown.
            OptionError: a strategy is unknown, or nothing is left to compare.
        """
        cards = named = sources.cards(self.sources or sources.bundled_names(modality))
        kinds, _ = self._kinds()
        scratch = ["scratch"]
        if any(kind.side == "baseline" and kind.needs.gradients for kind in kinds):
            # Only now, because telling the size of a network can take an import of torch.
            scratch.append(sources.SMALL[modality])
            # The fairest baseline of all: the same architecture as the cheapest source, from random weights.
            # Not for texts: a transformer without pretraining learns nothing from so few, and takes an hour over it.
            scratch += _twin(cards) if modality == "image" else []
        several = _several(cards, modality)
        cards = list({card.name: card for card in [*cards, *several, *sources.cards(scratch)]}.values())
        able_kinds = [kind for kind in kinds if not (wordless and kind.needs.class_names)]
        if wordless and not any(kind.side == "transfer" for kind in able_kinds):
            raise OptionError(_wordless(wordless))
        chosen = list({setting.key: setting for setting in settings(cards, able_kinds, modality)}.values())
        there = {card.name for card in named}
        chosen = [setting for setting in chosen if setting.card.unchanged not in there or _by_head(setting.strategy)]
        if not any(s.side == "transfer" for s in chosen):
            able = [card for card in named if card.modality == modality]
            why = "; ".join(
                kind.needs.lacking(able[0]) if able else f"it takes {named[0].modality}, and the target is {modality}"
                for kind in able_kinds
                if kind.side == "transfer"
            )
            raise RunError(
                Problem(
                    f"nothing can be transferred from {(able or named)[0].name}: {why}",
                    f"a pretrained source for {modality}" if not able else "a pretrained source",
                    "headstart sources",
                )
            )
        return chosen

    def kinds(self) -> list[Pinned]:
        """The strategies that may be tried."""
        return self._kinds()[0]

    def left_out(self) -> str:
        """Which baselines the choice of strategies leaves out, as a warning; "" where it leaves out none."""
        return self._kinds()[1]

    def unchanged(self) -> list[str]:
        """Of which sources only the head is new, as warnings."""
        return [
            f"{card.name} shipped a head on {card.unchanged}, whose network it left as it was: all that is new in it "
            "is what its head says of its own classes."
            for card in sources.cards(self.sources)
            if card.unchanged
        ]

    def _kinds(self) -> tuple[list[Pinned], str]:
        """The strategies that may be tried, and a warning about baselines that may not."""
        if adapting := [name for name in self.strategies if name in strategies.ADAPTATIONS]:
            raise OptionError(
                Problem(
                    f"{', '.join(adapting)} adapts a labelled source domain to a target domain",
                    f"of {', '.join(strategies.STRATEGIES)}",
                    "headstart adapt SOURCE TARGET",
                )
            )
        wanted = strategies.asked(self.strategies)
        everything = [Pinned(kind) for kind in strategies.STRATEGIES.values()]
        transfer = [kind for kind in wanted if kind.side == "transfer"]
        named = [kind for kind in wanted if kind.side == "baseline"]
        baselines = [kind for kind in everything if kind.side == "baseline"]
        quick = bool(transfer) and not any(kind.needs.gradients for kind in transfer)
        # Whoever names a source without knowledge wants it tried, and only such a baseline can.
        asked = any(name.startswith("scratch:") for name in self.sources)
        missing: list[Pinned] = []
        if (quick or named) and not asked:
            missing = [kind for kind in baselines if kind.needs.gradients and kind.name not in {k.name for k in named}]
        why = ""
        if missing:
            reason = "only routes that train none" if quick else "other baselines"
            names = ", ".join(kind.name for kind in missing)
            why = (
                "Baselines that train a network were not tried, because --strategy named "
                f"{reason}; name {names} to try them."
            )
        kinds = list(transfer) or [kind for kind in everything if kind.side == "transfer"]
        for kind in baselines:
            kinds += [own for own in named if own.name == kind.name] or ([] if kind in missing else [kind])
        return kinds, why


def _twin(cards: Sequence[sources.SourceCard]) -> list[str]:
    """The architecture of the cheapest source of pictures as a source of random weights, where it can be had."""
    able = [c for c in cards if c.name.startswith(("bundled:", "timm:", "run:")) and c.modality == "image"]
    able = [c for c in able if not c.parts]
    if not able:
        return []
    name = f"scratch:{min(able, key=lambda card: card.flops).architecture.partition('.')[0]}"
    try:
        return [sources.find(name).card.name]
    except SourceError:  # an architecture that was registered, and is nowhere but in its own sources
        return []


def _by_head(strategy: Adapt) -> bool:
    """Whether it uses what a source's head says, and so more than its network."""
    chosen = getattr(strategy, "penalty", "") == "cotuning" or getattr(strategy, "own", False)
    return strategy.needs.known_classes or bool(chosen)


def _several(cards: Sequence[sources.SourceCard], modality: str) -> list[sources.SourceCard]:
    """The cheapest sources as one, for ensembles; none where there is only one."""
    able = [card for card in cards if card.modality == modality and card.pretrained]
    able = [card for card in able if not card.parts and not card.unchanged]
    cheapest = sorted((card for card in able if card.preprocessing is not None), key=lambda card: card.flops)
    return [sources.join(cheapest[:MOST_JOINED])] if len(cheapest) > 1 else []


def unnamed(names: Sequence[str]) -> str:
    """What is wrong, in words, where a strategy goes by the names of classes."""
    return f"classes without a name in words: {', '.join(names[:SHOWN])}"


def _wordless(names: Sequence[str]) -> Problem:
    return Problem(
        unnamed(names),
        "names or descriptions, because the strategy named goes by them",
        "headstart fit ... --describe classes.yaml",
    )
