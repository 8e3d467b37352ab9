"""FSDP2: a model of ours sharded over two CPU processes trains, is saved whole, and loads again.

Run as a script it is one rank.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from hf_speech.models.modeling import HfSpeechForSequenceClassification
from tests.models.tiny import lively, tiny_config, waveforms
from tests.ranks import finish_ranks

KINDS = ("wav2vec2", "ecapa-tdnn")


@pytest.mark.slow
def test_a_sharded_model_trains_and_is_saved_whole(tmp_path: Path) -> None:
    finish_ranks(__file__, tmp_path)
    for kind in KINDS:
        found = json.loads((tmp_path / kind / "found.json").read_text())
        assert found["sharded"] == found["parameters"] > 10
        assert found["losses"][-1] < found["losses"][0]
        loaded = HfSpeechForSequenceClassification.from_pretrained(tmp_path / kind / "model").eval()
        with torch.no_grad():
            logits = loaded(torch.stack(waveforms([8_000, 8_000]))).logits
        assert (logits - torch.tensor(found["logits"])).abs().max() < 1e-5


def train(kind: str, folder: Path, mesh: DeviceMesh) -> None:
    """One rank's part in training a sharded model of a kind."""
    model = lively(HfSpeechForSequenceClassification(tiny_config(kind)))
    backbone = model.speech.frame_encoder.backbone
    for layer in getattr(getattr(backbone, "encoder", None), "layers", []):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    batch = torch.stack(waveforms([8_000, 8_000]))
    labels = torch.tensor([0, 1])
    losses = []
    model.eval()  # no dropout: the loss of the same rows has to fall
    for _ in range(8):
        loss = model(batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    sharded = sum(isinstance(p, DTensor) for p in model.parameters())
    with torch.no_grad():
        logits = model(batch).logits
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        plain = HfSpeechForSequenceClassification(model.config)
        plain.load_state_dict(whole)
        plain.save_pretrained(folder / "model")
        facts = {"sharded": sharded, "parameters": len(list(model.parameters())), "losses": losses}
        (folder / "found.json").write_text(json.dumps({**facts, "logits": logits.tolist()}))
    dist.barrier()


def main() -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    for kind in KINDS:
        folder = Path(sys.argv[1]) / kind
        folder.mkdir(exist_ok=True)
        train(kind, folder, mesh)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
