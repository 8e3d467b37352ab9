"""The fields of a stage: its own, over what the run says."""

from pathlib import Path
from typing import Any

import pytest

from hf_speech.pretraining.stage_fields import Stage, cluster_options_of, pretraining_of
from hf_speech.training.arguments import make_config
from hf_speech.training.config import RunConfig


def run_of(**more: Any) -> RunConfig:
    fields = {"dataset": "x", "target": "label", "output_dir": "y", "backbone_config": {"model_type": "wav2vec2"}}
    return make_config(fields | more, "fields", lambda config: None)


@pytest.mark.parametrize("own", [{}, {"backbone_config": {"model_type": "wav2vec2"}}])
def test_nothing_is_said_by_a_null_in_a_stage_too(own: dict[str, Any]) -> None:
    stage = Stage("1-pretrain", "pretrain", {"save_total_limit": None, "max_steps": 1, **own})
    config = pretraining_of(stage, run_of(), Path("z"), {})
    assert config.training["save_total_limit"] is None  # all checkpoints are kept, and not the 2 of no word
    assert config.model.normalize is None


def test_a_stage_of_clusters_goes_over_what_was_left_half_made() -> None:
    assert cluster_options_of(Stage("2-cluster", "cluster", {"layer": 1}), run_of()).fit.overwrite
