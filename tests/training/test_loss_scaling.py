"""The plain Trainer takes the same step however eight utterances are cut into batches, micro-batches and ranks.

Run as a script it is one rank of a distributed run: it writes the norm of the gradient to the given file.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from hf_speech.models.modeling import HfSpeechForSequenceClassification
from tests.models.tiny import lively, tiny_config, waveforms, without_dropout
from tests.ranks import finish_ranks

UTTERANCES = 8


class Utterances(Dataset):
    """Eight waveforms of one length, so that a mean of means is the mean; labels 0, 1, 2, 0 ..."""

    def __init__(self) -> None:
        self.waves = waveforms([4_000] * UTTERANCES)

    def __len__(self) -> int:
        return UTTERANCES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_values": self.waves[index], "labels": torch.tensor(index % 3)}


def model() -> HfSpeechForSequenceClassification:
    torch.manual_seed(0)
    config = tiny_config("wav2vec2", without_dropout(), pooling="mean+std", head="mlp", head_config={"dropout": 0.0})
    return lively(HfSpeechForSequenceClassification(config))


def gradient_norm(folder: Path, *, per_device: int, accumulation: int) -> float:
    """The norm of the gradient of the one optimiser step over all eight, as the plain Trainer logs it."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        logging_steps=1,
        max_grad_norm=1e9,  # measured, not clipped
        optim="sgd",
        save_strategy="no",
        use_cpu=True,
        seed=0,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model(), args=arguments, train_dataset=Utterances())
    trainer.train()
    return next(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry)


@pytest.fixture(scope="module")
def expected() -> float:
    """The norm of the gradient of the mean loss over all eight, without any Trainer."""
    batch = [Utterances()[i] for i in range(UTTERANCES)]
    whole = model().train()
    whole(**{name: torch.stack([row[name] for row in batch]) for name in batch[0]}).loss.backward()
    return float(torch.stack([p.grad.norm() for p in whole.parameters() if p.grad is not None]).norm())


@pytest.mark.parametrize(("per_device", "accumulation"), [(8, 1), (2, 4), (1, 8)])
def test_on_one_device(per_device: int, accumulation: int, expected: float, tmp_path: Path) -> None:
    found = gradient_norm(tmp_path, per_device=per_device, accumulation=accumulation)
    print(f"{per_device} x {accumulation}: {found:.6f}, without a Trainer {expected:.6f}")
    assert expected > 0.1
    assert found == pytest.approx(expected, rel=1e-4)


def test_on_two_ranks(expected: float, tmp_path: Path) -> None:
    finish_ranks(__file__, tmp_path)
    found = json.loads((tmp_path / "norms.json").read_text())
    assert found["ranks"] == 2 and len(found["norms"]) == len(ON_TWO)
    for (per_device, accumulation), norm in zip(ON_TWO, found["norms"], strict=True):
        print(f"2 ranks x {per_device} x {accumulation}: {norm:.6f}, without a Trainer {expected:.6f}")
        assert norm == pytest.approx(expected, rel=1e-4)


ON_TWO = ((4, 1), (2, 2))  # utterances a device and batches a step


def main() -> None:
    folder = Path(sys.argv[1])
    norms = [gradient_norm(folder, per_device=each, accumulation=batches) for each, batches in ON_TWO]
    if torch.distributed.get_rank() == 0:
        found = {"norms": norms, "ranks": torch.distributed.get_world_size()}
        (folder / "norms.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
