"""`headstart replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import RunFolder
from headstart.cli.fit import tell
from headstart.cli.live import run_listener, stderr_console
from headstart.cli.words import target_lines


def replay(
    run: RunFolder,
    target: Annotated[
        str | None, typer.Option(help="Where the data is now; other data can be given, too. Default: where it was.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The replay's folder. Default: RUN-replay.")] = None,
) -> None:
    """Run the trials of an earlier run again, from its spec.json, and say whether the evidence is the same."""
    from headstart import api, profile
    from headstart.profile import process_seconds
    from headstart.search import replay as replaying
    from headstart.search import spec as specs
    from headstart.search.folder import refuse_foreign

    spec = specs.read(run)
    before = run if run.is_dir() else run.parent
    folder = out or before.absolute().with_name(f"{before.absolute().name}-replay")
    spec.options().check()
    refuse_foreign(folder)
    with profile.opened(process_seconds()) as spent, run_listener(stderr_console()) as listener:
        with profile.phase("read"):
            data = spec.read(target, progress=lambda done, n: listener.progress("reading", done, n))
        listener.clear()
        for line in target_lines(data):
            listener.say(line)
        listener.say(f"  replay    {len(spec.trials)} trials of {before}")
        for what in spec.differences(data):
            listener.say(f"  differs   {what}")
        found = api.replay(run, data=data, out=folder, listener=listener)
    tell(found, folder, spent)
    if not (before / "evidence.json").is_file():
        return
    if parts := replaying.apart(api.open_run(before).evidence, found.evidence):
        typer.echo(f"  evidence  not the same as in {before}: {', '.join(parts)}")
    else:
        typer.echo(f"  evidence  the same as in {before}, but for seconds")
