"""Two processes learn what one learns from the same batches; and a model that is sharded over two is saved whole.

Run as a script it is one rank: it trains a case and writes its losses.
"""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from transformers import set_seed

from hf_speech.data.batching import Draw, SpeechBatchSampler
from hf_speech.ranks import leave_process_group
from hf_speech.testing import write_fake_corpus
from hf_speech.training.arguments import make_config
from hf_speech.training.setup import make_trainer, read_and_build
from tests.ranks import finish_ranks
from tests.training.runs import TINY, refusal, write_yaml

STEPS = 12
NETWORK = {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8}
ECAPA = {"backbone_config": {"model_type": "ecapa-tdnn", "network_config": NETWORK}}
CASES: dict[str, dict[str, Any]] = {
    "wav2vec2, frozen CNN": {"freeze": "cnn", "regularization": "none"},
    "weighted layer sum": {"layer": "weighted_sum", "regularization": "none"},
    "ECAPA, batch norm in evaluation mode": ECAPA,
    "ECAPA, batch norm in training": ECAPA,
}


class Together(SpeechBatchSampler):
    """What two ranks have in a step, as one batch."""

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self.plan(self.epoch):
            yield [Draw(self.epoch, index, turn) for part in step for index, turn in part.tolist()]


def losses(case: str, corpus: Path, folder: Path, alone: bool) -> list[float]:
    """The loss of every step."""
    fields = {**TINY, "dataset": str(corpus), "validation": "none", "test": "none", "max_steps": STEPS}
    fields |= {"per_device_train_batch_size": 4, "logging_steps": 1}
    fields |= {"save_strategy": "no", "output_dir": str(folder), "learning_rate": 1e-3, **CASES[case]}
    config = make_config(fields)
    set_seed(7)  # of the weights
    rows, model, extractor = read_and_build(config)
    trainer = make_trainer(config, rows, model, extractor)
    if "evaluation mode" in case:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
                module.train = lambda mode=True: None  # type: ignore[method-assign, assignment, return-value, misc]
    if alone:
        trainer.sampler.num_ranks, trainer.sampler.__class__ = 2, Together
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    corpus = write_fake_corpus(tmp_path / "corpus", speakers=6, per_speaker=4)
    finish_ranks(__file__, corpus, tmp_path)
    together = json.loads((tmp_path / "losses.json").read_text())
    for case in CASES:
        alone = losses(case, corpus, tmp_path / "alone", alone=True)
        differ = max(abs(one - other) for one, other in zip(alone, together[case], strict=True))
        print(f"{case}: loss {alone[0]:.4f} to {alone[-1]:.4f}, largest difference {differ:.2g}")
        assert len(alone) == STEPS and max(alone) - min(alone) > 1e-2
        if "in training" not in case:  # there each rank norms by its own rows: SyncBatchNorm needs a GPU
            assert differ < 1e-4, case


def test_fsdp_on_a_cpu_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=1)
    words = ["train", config, "--output-dir", tmp_path / "model"]
    wanted = "fsdp shards a model over GPUs, and this run is on a CPU"
    assert wanted in refusal(capsys, *words, "--fsdp", "true")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as `accelerate launch --use_fsdp` says it
    assert wanted in refusal(capsys, *words)


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_a_deepspeed_that_is_not_there_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=1)
    said = refusal(capsys, "train", config, "--output-dir", tmp_path / "model", "--deepspeed", tmp_path / "zero.json")
    assert "deepspeed is not installed: pip install --no-build-isolation deepspeed" in said


def main() -> None:
    corpus, folder = map(Path, sys.argv[1:])
    found = {case: losses(case, corpus, folder / "together", alone=False) for case in CASES}
    if dist.get_rank() == 0:
        assert torch.distributed.get_world_size() == 2
        (folder / "losses.json").write_text(json.dumps(found))
    leave_process_group()


if __name__ == "__main__":
    main()
