"""Three realistic pieces of evidence, one for each verdict, one with everything optional left out, and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

from headstart.judge.evidence import Evidence
from headstart.report import Showcase, Shown, thumbnail

LITE0 = "bundled:efficientnet_lite0"
MACHINE = {"system": "Linux x86_64", "processor": "Example CPU @ 2.50GHz", "cores": 2, "memory_gib": 7.8}
VERSIONS = {"python": "3.11.9", "headstart": "0.1.0", "torch": "2.6.0", "timm": "1.0.15", "numpy": "2.2.1"}


def row(source: str, strategy: str, side: str, score: float | None, **more: Any) -> dict[str, Any]:
    base = {"trials": 5, "seconds": 3.1, "memory_mb": 690.0, "status": "ok", "parameters": {}}
    half = more.pop("half", 0.02)
    low, high = (None, None) if score is None else (max(0, score - half), min(1, score + half))
    return {
        **base,
        "source": source,
        "strategy": strategy,
        "side": side,
        "score": score,
        "low": low,
        "high": high,
        **more,
    }


def make_helped() -> Evidence:
    return Evidence.model_validate(
        {
            "headstart": "0.1.0",
            "target": {
                "name": "photos",
                "examples": 397,
                "classes": ["ants", "bees"],
                "train": 244,
                "test": 153,
                "split": "given",
            },
            "metric": "balanced_accuracy",
            "verdict": "helped",
            "gain": {"estimate": 0.294, "low": 0.216, "high": 0.366},
            "transfer": {
                "source": LITE0,
                "strategy": "probe",
                "parameters": {"head": "ridge", "alpha": 10.0},
                "score": 0.954,
                "low": 0.915,
                "high": 0.986,
                "validation_score": 0.951,
                "metrics": {
                    "accuracy": 0.9542,
                    "balanced_accuracy": 0.954,
                    "macro_f1": 0.9541,
                    "log_loss": 0.141,
                    "auroc": 0.991,
                    "ece": 0.031,
                },
                "seconds": 6.2,
                "cpu_seconds": 11.4,
                "memory_mb": 812.0,
                "model_parameters": 3374570,
                "flops_per_example": 3.98e8,
                "seconds_per_1000": 8.1,
            },
            "baseline": {
                "source": "scratch:small_cnn",
                "strategy": "scratch",
                "parameters": {"lr": 0.003, "epochs": 40, "augment": True},
                "score": 0.66,
                "low": 0.585,
                "high": 0.732,
                "validation_score": 0.671,
                "metrics": {
                    "accuracy": 0.6601,
                    "balanced_accuracy": 0.66,
                    "macro_f1": 0.657,
                    "log_loss": 0.702,
                    "auroc": 0.718,
                    "ece": 0.112,
                },
                "seconds": 48.3,
                "cpu_seconds": 91.0,
                "memory_mb": 1230.0,
                "model_parameters": 288_000,
                "flops_per_example": 2.1e8,
                "seconds_per_1000": 4.2,
            },
            "shipped": "transfer",
            "shipped_reason": "It is better than the best baseline on the sealed test, beyond chance.",
            "seeds": 5,
            "n_test": 153,
            "method": "paired stratified bootstrap",
            "mcnemar": {"only_transfer_right": 49, "only_baseline_right": 4, "p_value": 3.1e-11},
            "minimal_detectable_gain": 0.107,
            "cost": {"wall_seconds": 118, "cpu_seconds": 215.5, "peak_memory_mb": 1304, "trials": 34},
            "per_class": [
                {
                    "name": "ants",
                    "n_test": 70,
                    "transfer": 0.943,
                    "baseline": 0.571,
                    "gain": 0.372,
                    "low": 0.25,
                    "high": 0.49,
                },
                {
                    "name": "bees",
                    "n_test": 83,
                    "transfer": 0.965,
                    "baseline": 0.749,
                    "gain": 0.216,
                    "low": 0.12,
                    "high": 0.31,
                },
            ],
            "confusion": [[66, 4], [3.2, 79.8]],
            "calibration": {
                "temperature": 1.31,
                "ece_before": 0.031,
                "ece_after": 0.018,
                "bins_before": [
                    {"confidence": 0.61, "accuracy": 0.5, "count": 4},
                    {"confidence": 0.87, "accuracy": 0.8, "count": 10},
                    {"confidence": 0.99, "accuracy": 0.97, "count": 139},
                ],
                "bins": [
                    {"confidence": 0.56, "accuracy": 0.6, "count": 5},
                    {"confidence": 0.66, "accuracy": 0.57, "count": 7},
                    {"confidence": 0.77, "accuracy": 0.82, "count": 11},
                    {"confidence": 0.87, "accuracy": 0.9, "count": 20},
                    {"confidence": 0.98, "accuracy": 0.99, "count": 110},
                ],
            },
            "label_curve": {
                "points": [
                    {
                        "labels": labels,
                        "side": side,
                        "score": score,
                        "low": score - 0.06,
                        "high": min(1, score + 0.05),
                        "seeds": 5,
                        "validation_score": score - 0.01,
                    }
                    for labels, one, two in ((61, 0.921, 0.58), (122, 0.941, 0.63), (244, 0.954, 0.66))
                    for side, score in (("transfer", one), ("baseline", two))
                ],
                "fits": [
                    {
                        "side": "baseline",
                        "scale": 0.8,
                        "exponent": 0.15,
                        "exponent_low": 0.06,
                        "exponent_high": 0.4,
                        "floor": 0.0,
                        "line": [
                            {"labels": n, "score": 1 - 0.8 * n**-0.15, "low": 0.5, "high": 0.8} for n in (61, 200, 488)
                        ],
                    }
                ],
                "needed": {
                    "side": "baseline",
                    "score": 0.954,
                    "labels": None,
                    "low": 900,
                    "high": None,
                    "reach": 2440,
                },
                "sentences": ["The baseline would need more than 900 labels to match <b>all</b> of it."],
            },
            "leaderboard": [
                row("scratch", "majority", "baseline", 0.5, trials=1, seconds=0.01, memory_mb=410, half=0),
                row(
                    "scratch",
                    "classical",
                    "baseline",
                    0.632,
                    seconds=4.2,
                    half=0.06,
                    parameters={"features": "hog", "model": "svm"},
                ),
                row(
                    "scratch:small_cnn",
                    "scratch",
                    "baseline",
                    0.671,
                    seconds=48.3,
                    half=0.05,
                    memory_mb=1230,
                    parameters={"lr": 0.003, "epochs": 40, "augment": True},
                ),
                row(
                    LITE0,
                    "probe",
                    "transfer",
                    0.951,
                    seconds=6.2,
                    memory_mb=812,
                    parameters={"head": "ridge", "alpha": 10.0},
                ),
                row("bundled:efficientnet_lite1", "probe", "transfer", 0.947, seconds=9.9, memory_mb=871),
                row("bundled:efficientnet_lite2", "probe", "transfer", 0.944, seconds=13.0, memory_mb=930),
                row(
                    LITE0,
                    "finetune",
                    "transfer",
                    0.949,
                    seconds=61,
                    memory_mb=1304,
                    trials=2,
                    half=0.03,
                    parameters={"lr": 0.001},
                ),
                row(
                    "scratch:efficientnet_lite0",
                    "scratch",
                    "baseline",
                    None,
                    trials=0,
                    seconds=0,
                    memory_mb=0,
                    status="skipped",
                    note="would need more than the budget left",
                ),
            ],
            "hygiene": {
                "unreadable": [["train/ants/imageNotFound.gif", "is not a picture"]],
                "ignored": ["notes.txt", "Thumbs.db"],
                "exact_duplicates": [],
                "near_duplicates": [["train/ants/1.jpg", "val/ants/9.jpg"]],
                "across_splits": [["train/ants/1.jpg", "val/ants/9.jpg", "near"]],
                "duplicates_were": "reported",
                "conflicting": [],
                "counts": {"ants": {"train": 123, "test": 70}, "bees": {"train": 121, "test": 83}},
                "imbalance": 1.19,
                "warnings": [],
            },
            "warnings": [
                "1 near-duplicate pair stands on both sides of the given split; both scores may be a little too high."
            ],
            "seconds_total": 119.4,
            "budget": "2m",
            "command": "headstart fit photos/ --budget 2m --out runs/photos",
            "versions": VERSIONS,
            "machine": MACHINE,
        }
    )


def make_hurt() -> Evidence:
    digits = [str(digit) for digit in range(10)]
    return Evidence.model_validate(
        {
            "headstart": "0.1.0",
            "target": {
                "name": "digits",
                "examples": 1797,
                "classes": digits,
                "train": 100,
                "test": 1697,
                "split": "made",
            },
            "metric": "accuracy",
            "verdict": "hurt",
            "gain": {"estimate": -0.201, "low": -0.225, "high": -0.178},
            "transfer": {
                "source": LITE0,
                "strategy": "probe",
                "score": 0.691,
                "low": 0.669,
                "high": 0.713,
                "metrics": {
                    "accuracy": 0.691,
                    "balanced_accuracy": 0.69,
                    "macro_f1": 0.688,
                    "log_loss": 0.94,
                    "auroc": 0.951,
                    "ece": 0.02,
                },
                "seconds": 14.0,
                "memory_mb": 700.0,
                "model_parameters": 3384820,
                "flops_per_example": 3.98e8,
                "seconds_per_1000": 7.7,
            },
            "baseline": {
                "source": "scratch",
                "strategy": "classical",
                "parameters": {"features": "pixels", "model": "svm", "C": 10.0},
                "score": 0.892,
                "low": 0.877,
                "high": 0.907,
                "metrics": {
                    "accuracy": 0.892,
                    "balanced_accuracy": 0.891,
                    "macro_f1": 0.89,
                    "log_loss": 0.41,
                    "auroc": 0.989,
                    "ece": 0.05,
                },
                "seconds": 0.21,
                "cpu_seconds": 0.3,
                "memory_mb": 420.0,
                "seconds_per_1000": 0.12,
            },
            "shipped": "baseline",
            "shipped_reason": "Transfer was not shown to help and the baseline is at least as good on validation.",
            "seeds": 5,
            "n_test": 1697,
            "method": "paired stratified bootstrap",
            "mcnemar": {"only_transfer_right": 61, "only_baseline_right": 402, "p_value": 0.0},
            "minimal_detectable_gain": 0.032,
            "cost": {"wall_seconds": 61, "cpu_seconds": 110, "peak_memory_mb": 990, "trials": 21},
            "per_class": [
                {
                    "name": name,
                    "n_test": 170,
                    "transfer": 0.55 + gain / 2,
                    "baseline": 0.55 - gain / 2,
                    "gain": gain,
                    "low": gain - 0.05,
                    "high": gain + 0.05,
                }
                for name, gain in zip(
                    digits, (0.06, -0.31, -0.12, -0.33, -0.22, -0.25, -0.02, -0.18, -0.41, -0.23), strict=True
                )
            ],
            "confusion": [
                [
                    150 if i == j else (9 if (i * 3 + j) % 7 == 0 else (1.4 if (i + j) % 3 == 0 else 0))
                    for j in range(10)
                ]
                for i in range(10)
            ],
            "calibration": {
                "temperature": 0.8,
                "ece_before": 0.05,
                "ece_after": 0.012,
                "bins": [{"confidence": 0.95, "accuracy": 0.93, "count": 1697}],
            },
            "leaderboard": [
                row(LITE0, "probe", "transfer", 0.70, half=0.09),
                row("bundled:efficientnet_lite1", "probe", "transfer", 0.67, half=0.09),
                row(LITE0, "finetune", "transfer", None, status="failed", note="loss became NaN at epoch 3"),
                row("scratch", "majority", "baseline", 0.10, half=0.0, trials=1),
                row(
                    "scratch",
                    "classical",
                    "baseline",
                    0.91,
                    half=0.06,
                    parameters={"features": "pixels", "model": "svm", "C": 10.0},
                    seconds=0.21,
                    memory_mb=420,
                ),
                row("scratch:small_cnn", "scratch", "baseline", 0.79, half=0.08, seconds=22),
            ],
            "hygiene": {
                "unreadable": [],
                "ignored": [],
                "exact_duplicates": [],
                "near_duplicates": [],
                "across_splits": [],
                "conflicting": [],
                "counts": {digit: {"train": 10, "validation": 0, "test": 170} for digit in digits},
                "imbalance": 1.0,
                "warnings": [],
            },
            "seconds_total": 61.2,
            "budget": "1m",
            "command": "headstart demo",
            "versions": VERSIONS,
            "machine": MACHINE,
        }
    )


NASTY = [
    "<script>alert(1)</script>",
    "Schäferhund",
    "柴犬",
    "كلب",
    "a|b*c_d`e`",
    "very long class name " * 4,
    "🦊 fox",
    "d\"quote'",
    "[link](x)",
    "&amp;",
    "пёс",
    "{{ 7*7 }}",
]


def make_undetermined() -> Evidence:
    return Evidence.model_validate(
        {
            "headstart": "0.1.0",
            "target": {
                "name": "zwölf <b>Hunde</b>",
                "examples": 96,
                "classes": NASTY,
                "train": 96,
                "test": 96,
                "split": "cross-fit",
            },
            "metric": "accuracy",
            "verdict": "undetermined",
            "gain": {"estimate": 0.024, "low": -0.061, "high": 0.109},
            "transfer": {
                "source": "timm:resnet50.a1_in1k",
                "strategy": "probe",
                "score": 0.594,
                "low": 0.51,
                "high": 0.678,
                "metrics": {"accuracy": 0.594, "log_loss": 1.31},
                "seconds": 3725.0,
                "memory_mb": 2048.0,
            },
            "baseline": {
                "source": "scratch",
                "strategy": "classical",
                "score": 0.57,
                "low": 0.48,
                "high": 0.66,
                "metrics": {"accuracy": 0.57},
                "seconds": 0.0,
                "memory_mb": 300.0,
            },
            "shipped": "transfer",
            "shipped_reason": "Transfer was not shown to help, but it is the better one on validation.",
            "seeds": 1,
            "n_test": 96,
            "method": "corrected resampled t-test",
            "minimal_detectable_gain": 0.121,
            "examples_to_settle": 1200,
            "cost": {"wall_seconds": 12, "cpu_seconds": 20, "peak_memory_mb": 2048, "trials": 6},
            "per_class": [
                {
                    "name": name,
                    "n_test": 8,
                    "transfer": 0.55 + (k - 5) / 40,
                    "baseline": 0.55 - (k - 5) / 40,
                    "gain": (k - 5) / 20,
                    "low": max(-1, (k - 5) / 20 - 0.3),
                    "high": min(1, (k - 5) / 20 + 0.3),
                }
                for k, name in enumerate(NASTY)
            ],
            "confusion": [[5 if i == j else (1 if (i + 2 * j) % 5 == 0 else 0) for j in range(12)] for i in range(12)],
            "leaderboard": [
                row("timm:resnet50.a1_in1k", "probe", "transfer", 0.59, half=0.1, trials=3),
                row("scratch", "classical", "baseline", 0.56, half=0.1, trials=3),
                row(
                    "scratch:small_cnn",
                    "scratch",
                    "baseline",
                    None,
                    status="skipped",
                    trials=0,
                    note="interrupted before its turn <i>",
                ),
            ],
            "hygiene": {
                "conflicting": [["a<.jpg", "b.jpg"]],
                "near_duplicates": [["c.jpg", "d.jpg"], ["e.jpg", "f.jpg"]],
                "warnings": ["every class has only 8 examples"],
                "imbalance": None,
            },
            "warnings": ["<script>alert('warning')</script>"],
            "partial": True,
            "seconds_total": 12.4,
            "command": "headstart fit 'zwölf <b>Hunde</b>' --budget 30s",
        }
    )


def make_bare() -> Evidence:
    """Only what the schema demands."""
    route = {
        "source": "scratch",
        "strategy": "majority",
        "score": 0.5,
        "low": 0.5,
        "high": 0.5,
        "seconds": 0.0,
        "memory_mb": 0.0,
    }
    return Evidence.model_validate(
        {
            "headstart": "0.1.0",
            "target": {"name": "t", "examples": 4, "classes": ["a", "b"], "train": 2, "test": 2, "split": "made"},
            "metric": "accuracy",
            "verdict": "undetermined",
            "gain": {"estimate": 0.0, "low": 0.0, "high": 0.0},
            "transfer": route,
            "baseline": route,
            "shipped": "baseline",
            "shipped_reason": "",
            "seeds": 1,
            "n_test": 2,
            "method": "paired stratified bootstrap",
            "minimal_detectable_gain": 0.0,
            "cost": {"wall_seconds": 0, "cpu_seconds": 0, "peak_memory_mb": 0, "trials": 0},
            "seconds_total": 0,
        }
    )


def make_many(n: int) -> Evidence:
    """The evidence of :func:`make_helped` with `n` classes."""
    names = [f"class {k:03d}" for k in range(n)]
    evidence = make_helped()
    return evidence.model_copy(
        update={
            "target": evidence.target.model_copy(update={"classes": names}),
            "per_class": [
                evidence.per_class[0].model_copy(
                    update={
                        "name": name,
                        "gain": (k - n / 4) / n,
                        "low": (k - n / 4) / n - 0.1,
                        "high": (k - n / 4) / n + 0.1,
                    }
                )
                for k, name in enumerate(names)
            ],
            "confusion": [
                [9.0 if i == j else 1.0 if (i * 7 + 3) % n == j else 0.0 for j in range(n)] for i in range(n)
            ],
        }
    )


def picture(colour: str, width: int = 200, height: int = 150) -> bytes:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).ellipse((30, 20, width - 30, height - 20), fill=colour)
    return thumbnail(image)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


def make_showcase() -> Showcase:
    return Showcase(
        fixed=[
            Shown(f"val/ants/{k}.jpg", "ants", "ants", "bees", 0.9 + k / 100, picture(colour, *size))
            for k, (colour, size) in enumerate(
                (
                    ("#884422", (200, 150)),
                    ("#333", (100, 200)),
                    ("#cc8800", (150, 150)),
                    ("#5577aa", (300, 100)),
                    ("#228844", (200, 150)),
                    ("#aa2255", (200, 150)),
                    ("#aa7755", (200, 150)),
                )
            )
        ],
        broke=[Shown('val/bees/"><script>.png', "bees", "ants", "bees", 0.71, png())],
        credit="Pictures by A. Nother & Co., CC BY-SA 4.0",
    )


@pytest.fixture
def helped() -> Evidence:
    return make_helped()


@pytest.fixture
def hurt() -> Evidence:
    return make_hurt()


@pytest.fixture
def undetermined() -> Evidence:
    return make_undetermined()


@pytest.fixture
def bare() -> Evidence:
    return make_bare()


@pytest.fixture
def many() -> Callable[[int], Evidence]:
    return make_many


@pytest.fixture
def showcase() -> Showcase:
    return make_showcase()
