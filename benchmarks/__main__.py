"""Every benchmark in turn: `python -m benchmarks`. Each writes its figures to benchmarks/results/."""

import importlib
import time

SUITES = ("startup", "layer_cost", "layer_sweep", "padding", "crops", "corpora", "wavlm_sdpa")
SUITES += ("batching", "frozen", "real_speech", "speakers", "folds", "augmentations")
SUITES += ("onnx", "embedding", "verification_metrics", "verification_scores", "verification_speech", "cluster_memory")
SUITES += ("adaptation",)


def main() -> None:
    for name in SUITES:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        importlib.import_module(f"benchmarks.{name}").main()
        print(f"== {name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
