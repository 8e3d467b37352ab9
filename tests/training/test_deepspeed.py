"""DeepSpeed's configuration is handed through: two processes that shard the optimiser learn what DDP learns."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.ranks import finish_ranks
from tests.training.runs import TINY, same_weights, write_yaml

ZERO = {"zero_optimization": {"stage": 2}, "gradient_clipping": "auto"}
ZERO |= dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto")
FIELDS = {**TINY, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 4}


@pytest.mark.slow
def test_it_learns_the_same_and_goes_on(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install --no-build-isolation deepspeed")
    (tmp_path / "zero.json").write_text(json.dumps(ZERO))
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **FIELDS)
    words = ["-m", "hf_speech.cli", "train", config, "--output-dir"]
    zero = ["--deepspeed", tmp_path / "zero.json"]
    finish_ranks(*words, tmp_path / "plain")
    finish_ranks(*words, tmp_path / "sharded", *zero)
    assert list((tmp_path / "sharded/checkpoint-6").glob("global_step6/*zero_pp_rank_1*"))  # each rank has its part
    plain, sharded = (load_file(tmp_path / run / "model.safetensors") for run in ("plain", "sharded"))
    assert all((plain[name] - sharded[name]).abs().max() < 1e-5 for name in plain)  # of steps of up to 3e-3 each
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "sharded/checkpoint-3", half / "checkpoint-3")
    shutil.copy(tmp_path / "sharded/train.yaml", half)
    said = finish_ranks(*words, half, *zero)
    assert any(line.startswith("going on from") and "checkpoint-3" in line for line in said)
    assert same_weights(tmp_path / "sharded", half)
