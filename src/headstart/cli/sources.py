"""`headstart sources`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from headstart.cli.words import table


def sources(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what can be transferred from here, with licence, size and where the weights are."""
    from headstart.source import BUNDLED, NAMED_ONLY

    cards = list(BUNDLED.values())
    if as_json:
        typer.echo(json.dumps([asdict(card) for card in cards]))
        return
    rows = [("source", "parameters", "features", "GFLOP", "MiB", "licence", "weights", "pretrained on")]
    rows += [
        (
            card.name,
            f"{card.parameters / 1e6:.1f} M",
            str(card.features),
            f"{card.flops / 1e9:.2f}",
            f"{card.bytes / 2**20:.0f}",
            card.licence,
            card.origin,
            card.pretraining,
        )
        for card in cards
    ]
    for line in table(rows):
        typer.echo(line)
    typer.echo("")
    for name in NAMED_ONLY:
        typer.echo(f"{BUNDLED[name].short} is tried only where it is named: --source {BUNDLED[name].short}")
    typer.echo("")
    typer.echo("timm:NAME        any timm model, from the hub or its cache       timm:resnet50.a1_in1k")
    typer.echo("timm:NAME@FILE   the same with weights from a file               timm:resnet18@resnet18.safetensors")
    typer.echo(
        "hf:NAME          a text encoder of the hub, or hf:FOLDER         hf:sentence-transformers/all-mpnet-base-v2"
    )
    typer.echo("static:NAME      static embeddings, or static:FOLDER             static:minishlab/potion-base-8M")
    typer.echo("run:FOLDER       the network that an earlier run shipped           run:runs/photos")
    typer.echo("scratch          nothing pretrained: the baselines, always tried  scratch:small_cnn, scratch:TIMM_NAME")
    typer.echo("                 for texts                                        scratch:text_cnn")
