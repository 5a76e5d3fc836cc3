"""SetFit with its defaults on draws of a few labels: its trainer, its pairs, its logistic head."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import common
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

TRIED = 4  # steps, and three times as many, to learn what one takes


def fit(folder: str, examples: dict[str, list[object]], seed: int, steps: int) -> SetFitModel:
    """One draw; `steps`: of the optimiser, -1: as many as its defaults make."""
    with tempfile.TemporaryDirectory() as place:
        how = TrainingArguments(
            output_dir=place,
            seed=seed,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        model = SetFitModel.from_pretrained(folder, device="cpu")
        Trainer(model=model, args=how, train_dataset=Dataset.from_dict(examples)).train()
    return model


def affordable(folder: str, examples: dict[str, list[object]], seconds: float) -> int:
    """Steps for which the CPU time is enough, by what the first ones take."""
    spent = []
    for steps in (TRIED, 3 * TRIED):
        began = time.process_time()
        fit(folder, examples, 0, steps)
        spent.append(time.process_time() - began)
    step = max(1e-3, (spent[1] - spent[0]) / (2 * TRIED))
    return max(1, round((seconds - spent[0]) / step) + TRIED)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("task", type=Path, help='JSON: {"train": {"texts", "labels"}, "test": likewise, "draws": rows}')
    parser.add_argument("--seconds", type=float, help="CPU seconds for each draw; default: as many as it takes")
    given = parser.parse_args()
    task = json.loads(given.task.read_text(encoding="utf-8"))
    train, test = task["train"], task["test"]
    folder, steps = common.encoder(), -1
    accuracies, fit_seconds, predict_seconds = [], [], []
    for number, rows in enumerate(task["draws"]):
        examples = {"text": [train["texts"][i] for i in rows], "label": [train["labels"][i] for i in rows]}
        if given.seconds is not None and not number:
            steps = affordable(folder, examples, given.seconds)
        began = time.process_time()
        model = fit(folder, examples, number, steps)
        fit_seconds.append(time.process_time() - began)
        began = time.process_time()
        found = model.predict(test["texts"], show_progress_bar=False, as_numpy=True)
        predict_seconds.append(time.process_time() - began)
        accuracies.append(sum(int(a) == b for a, b in zip(found, test["labels"], strict=True)) / len(found))
    measured = {"accuracies": accuracies, "fit_cpu_seconds": fit_seconds, "predict_cpu_seconds": predict_seconds}
    if given.seconds is not None:
        measured["steps"] = steps
    common.report("setfit_few_shot", measured, given.json)


if __name__ == "__main__":
    main()
