"""How it was made, on the card: learned layers, costs and what they were measured on, energy."""

from typing import Any

import pytest

from hf_speech.hub.making import costs_section, recipe_section

from ..test_results import example
from .examples import full


def test_the_layers_that_weigh_most_are_named() -> None:
    content = full()
    assert (
        "Of the encoder's input and its 12 layers, learned to be summed, these weigh most: layer 11 (30 %), layer 12 "
        "(18 %), layer 10 (12 %). Equal shares would be 7.7 %."
    ) in recipe_section(content)
    content["model"]["layer_weights"] = [0.75, 0.25]
    assert "its 1 layer, learned to be summed, these weigh most: its input (75 %), layer 1 (25 %)" in recipe_section(
        content
    )
    assert "weigh most" not in recipe_section(example())


def test_settings_that_are_empty_are_left_out() -> None:
    content = example()
    content["run"]["recipe"] |= {"schedule_config": {}, "class_weights": None, "weight_decay": 0.0, "freeze": "none"}
    section = recipe_section(content)
    assert "freeze" not in section
    assert "| weight decay | 0.0 |" in section and "schedule config" not in section and "class weights" not in section


def test_costs_say_what_they_were_measured_on() -> None:
    section = costs_section(full())
    for line in (
        "| parameters | 94,371,712 |",
        "| weights | 377 MB |",
        "| one utterance alone | 218 ms for 5 s of audio, from samples to answer (median of 5) |",
        "| many utterances | 61.4 s of audio a second (`test`, in batches, files being read) |",
        "| measured on | CPU (2 threads), float32 |",
    ):
        assert line in section, line
    content = full()
    content["run"]["device"] = "NVIDIA H100"
    content["run"]["speed"] |= {"audio_seconds_per_second": None, "split": None}
    section = costs_section(content)
    assert "| measured on | NVIDIA H100, float32, 2 threads |" in section
    assert "| many utterances | not measured: nothing was evaluated, or not by the whole model at once |" in section


def test_what_was_not_measured_is_said() -> None:
    section = costs_section(example())
    assert section.count("not measured") == 3 and "| weights | not recorded |" in section


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "0.01731 kWh, 6.428 g CO2eq (as codecarbon 3.3.2 estimates it; of the whole machine; electricity as of "
         "saxony, Germany; AMD EPYC) |"),
        ({"country": None, "region": None, "hardware": None, "mode": "process", "from_step": 1200},
         "0.01731 kWh, 6.428 g CO2eq (as codecarbon 3.3.2 estimates it; of its process alone; from step 1,200 on) |"),
    ],
)  # fmt: skip
def test_energy_is_told_with_its_source(change: dict[str, Any], said: str) -> None:
    content = full()
    content["run"]["energy"] |= change
    assert f"| energy of the training | {said}" in costs_section(content)
