"""What the documentation claims, measured. `python -m benchmarks [NAME ...]` writes benchmarks/results/NAME.json."""
