"""The command line: a thin edge. Answers go to stdout, progress and messages to stderr."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import warnings

import typer

from headstart.cli import adapt, cache, check, demo, fit, plan, predict, rank, replay, report, shift, sources, suggest
from headstart.cli.app import app
from headstart.errors import HeadstartError, InputError

# The help lists them in this order.
for _command in (
    fit.fit,
    replay.replay,
    adapt.adapt,
    predict.predict,
    suggest.suggest,
    report.report,
    check.check,
    rank.rank,
    plan.plan,
    shift.shift,
    sources.sources,
    demo.demo,
):
    app.command()(_command)
app.add_typer(cache.app, name="cache")


class _Warnings(logging.Handler):
    """The package's log messages as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"  warning   {record.getMessage()}", file=sys.stderr)  # noqa: T201


def _leave() -> None:
    """What is left at the end goes with the process: Python need not look through all of it once more.

    Where torch was loaded it does: Triton's bindings take what nobody looked through for leaks, and say so at length.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Run the command line. Exit codes: 0 done; 1 our bug; 2 the input is wrong; 130 interrupted."""
    # Threads that wait without spinning: twice as fast beside a busy browser, no slower alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nearly everything that a run makes lives until its end: to look for rubbish as often as Python does by itself
    # takes a tenth of a short run, and finds none.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(_leave)
    logging.getLogger("headstart").addHandler(_Warnings())
    warnings.simplefilter("ignore")  # other libraries' deprecations are not the user's business
    try:
        code = app(standalone_mode=False)
        if code == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except InputError as error:
        _complain(str(error))
        code = error.exit_code
    except HeadstartError as error:
        _complain(f"{error}\nThis is a bug in headstart, not in your data.")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; run the same command again to go on", file=sys.stderr)  # noqa: T201
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody left to tell
        code = 0
    except Exception as error:
        if not hasattr(error, "show"):  # not one of the command line library's own usage errors
            raise
        error.show()
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(words: str) -> None:
    print(f"error: {words}", file=sys.stderr)  # noqa: T201
