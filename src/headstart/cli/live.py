"""What is going on, shown on stderr: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from headstart.errors import plural

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console() -> Console:
    """Where progress and messages go."""
    from rich.console import Console

    return Console(stderr=True)


class Line:
    """What is going on: a live line on a terminal, nothing elsewhere; and plain lines that stay."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status = console.status("", spinner="dots") if console.is_terminal else None
        self.words = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def live(self, line: str) -> None:
        """What is going on now; nothing where there is no terminal."""
        if self.status is not None:
            from rich.markup import escape

            self.status.update(escape(line))
            self.status.start()

    def clear(self) -> None:
        """Nothing is going on."""
        if self.status is not None:
            self.status.stop()

    def progress(self, words: str, done: int, total: int) -> None:
        """So much of it is done."""
        self.live(f"{self.words or ' '} {words} {done:,}/{total:,}")


def run_listener(console: Console) -> Any:
    """A :class:`headstart.search.Listener` that shows a run on `console`."""
    from headstart.budget import format_seconds
    from headstart.search import Listener

    class Shown(Line, Listener):
        headed = False

        def __init__(self, console: Console) -> None:
            super().__init__(console)
            # Results still to be said, by phase, episode and setting: those of one setting hardly differ.
            self.held: dict[tuple[str, str, str], list[Any]] = {}

        def __exit__(self, *_: object) -> None:
            self.flush()
            super().__exit__(*_)

        def resumed(self, trials: int) -> None:
            self.say(f"  resuming  {plural(trials, 'trial')} in the ledger will not be repeated")

        def limited(self, why: str) -> None:
            self.say(f"  note      {why}")

        def began(self, spec: Any, predicted: float, left: float) -> None:
            if not self.headed:
                self.headed = True
                what, peak = f"{'':<8}validation score", "process peak"
                self.say(f"  {'side':<9} {'route':<54} {what:<33} {'time':>7}  {peak:>12}")
            phase = "" if spec.phase == "search" else f" ({spec.phase})"
            budget = "" if left == float("inf") else f", {format_seconds(max(0.0, left))} of budget left"
            self.words = f"{spec.words()}{phase}, {spec.place()}, about {format_seconds(predicted)}{budget} "
            self.live(self.words)

        def ended(self, result: Any, score: tuple[float, float, float] | None, left: float) -> None:
            phase = result.spec.phase
            if any(held != phase for held, _, _ in self.held):
                self.flush()
            if phase in ("final", "label curve") and result.status == "ok" and not _trains(result.spec):
                episode = "" if result.spec.place().startswith("draw") else result.spec.episode
                self.held.setdefault((phase, episode, result.spec.setting), []).append(result)
                return
            name = f"{result.spec.words()}{details(result.spec)}"
            if result.status == "failed":
                self.say(f"  failed    {name}: {result.error}")
                return
            if score is not None:
                shown = f"{100 * score[0]:5.1f} % ({100 * score[1]:.1f} to {100 * score[2]:.1f})"
                shown += f" with {result.spec.labels} labels" if phase == "rung" else ""
            elif phase == "label curve":
                shown = f"with {result.spec.labels} labels"
            else:
                shown = {
                    "candidate": "predicted the target",
                    "final": "predicted the sealed test",
                    "ship": "trained for shipping",
                }[phase]
            budget = "" if left == float("inf") else f"  {format_seconds(max(0.0, left)):>11} left"
            self.row(name, f"{result.spec.place()}  {shown}", [result], budget)

        def row(self, name: str, what: str, results: list[Any], budget: str = "") -> None:
            """One line of the table, of one result or of several together."""
            wall, peak = sum(r.wall for r in results), max(r.memory_mb for r in results)
            side = results[0].side
            self.say(f"  {side:<9} {name:<54} {what:<33} {format_seconds(wall):>7}  {peak:8.0f} MiB{budget}")

        def flush(self) -> None:
            """Say the final trials of routes that train no network, and their label curve: a line for each."""
            for results in self.held.values():
                spec = results[0].spec
                labels = ", ".join(map(str, sorted({r.spec.labels for r in results if r.spec.labels is not None})))
                what = f"{seeds(results)}: {labels} labels" if labels else f"{seeds(results)} predicted the test"
                self.row(f"{spec.words()}{details(spec)}", what, results)
            self.held.clear()

        def interrupted(self) -> None:
            self.clear()
            self.flush()
            self.say("  interrupted: comparing what was found so far; press Ctrl-C again to stop at once")

        def judging(self) -> None:
            self.flush()
            self.words = "opening the sealed test, judging, saving the model"
            self.live(self.words)

    return Shown(console)


def seeds(results: list[Any]) -> str:
    """`seed 1`, `draws 1 to 5`, or, where a resumed run goes on, whichever they are."""
    kind = results[0].spec.place().split()[0]
    numbers = sorted({r.spec.seed + 1 for r in results})
    if len(numbers) == 1:
        return f"{kind} {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{kind}s {numbers[0]} to {numbers[-1]}"
    return f"{kind}s {', '.join(map(str, numbers))}"


def _trains(spec: Any) -> bool:
    """Whether a trial trains a network, so that its seed matters."""
    from headstart import strategy

    return bool(strategy.find(spec.strategy).needs.gradients)


def details(spec: Any) -> str:
    """The hyper-parameters that are not the strategy's defaults."""
    from headstart.report.words import parameters

    shown = parameters(spec.parameters, spec.strategy)
    return f" [{shown}]" if shown else ""
