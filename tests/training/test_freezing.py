"""Freezing by optimiser steps: which step sees what, in the real Trainer, resumed and on two ranks.

Run as a script it is one rank of a distributed run: it writes what it found to the given file.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_speech.errors import InputError
from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.training.freezing import Freezing, FreezingSteps
from tests.models.tiny import lively, tiny_config, waveforms
from tests.pairs import some_pairs
from tests.ranks import finish_ranks

PREFIX = "speech.frame_encoder.backbone."
STEPS = 8
MASKED = {"mask_time_prob": 0.3, "mask_time_length": 2}


def model_of(backbone: str = "wav2vec2", layers: int = 4, **values: Any) -> HfSpeechForSequenceClassification:
    torch.manual_seed(0)
    sizes = {} if backbone in OWN_BACKBONES else {"num_hidden_layers": layers}
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, {**sizes, **values}))).train()


def timeline(freezing: Freezing, total: int, backbone: str = "wav2vec2", layers: int = 4) -> list[str]:
    """The highest thing that is frozen, step by step, as the model's parameters have it ("" is nothing)."""
    model, found = model_of(backbone, layers), []
    freezing.thaw(model)
    tops = {f"layer {i}": f"encoder.layers.{i - 1}." for i in range(layers, 0, -1)}
    tops |= {"projection": "feature_projection.", "cnn": "feature_extractor."}
    for step in range(total):
        freezing.apply(model, step, total)
        still = [name for name, p in model.encoder.backbone.named_parameters() if not p.requires_grad]
        if len(still) == len(list(model.encoder.backbone.parameters())):
            found.append("all")
        else:
            found.append(next((top for top, part in tops.items() if any(name.startswith(part) for name in still)), ""))
    return found


# 4 layers of wav2vec2, hand-written.
TIMELINES: list[tuple[Freezing, int, list[str]]] = [
    (Freezing(), 3, ["", "", ""]),
    (Freezing("cnn"), 2, ["cnn", "cnn"]),
    (Freezing("cnn+projection"), 2, ["projection", "projection"]),
    (Freezing("backbone"), 2, ["all", "all"]),
    (Freezing(layers=2), 2, ["layer 2", "layer 2"]),
    (Freezing("cnn", steps=3), 5, ["all", "all", "all", "cnn", "cnn"]),
    (Freezing("cnn", steps=0.25), 8, ["all", "all", *["cnn"] * 6]),
    (Freezing("cnn", steps=0.3), 10, ["all"] * 3 + ["cnn"] * 7),
    (Freezing("cnn", steps=0.25), 2, ["all", "cnn"]),  # a share takes whole steps, and leaves one
    (Freezing("cnn", steps=0.9), 2, ["all", "cnn"]),
    (Freezing(steps=0.9), 1, [""]),
    (Freezing(unfreeze_every=1), 5, ["layer 3", "layer 2", "layer 1", "projection", ""]),
    (Freezing("cnn", steps=2, unfreeze_every=2), 11,
     ["all"] * 2 + ["layer 3"] * 2 + ["layer 2"] * 2 + ["layer 1"] * 2 + ["projection"] * 2 + ["cnn"]),
    (Freezing(layers=2, unfreeze_every=0.5), 4, ["layer 3", "layer 3", "layer 2", "layer 2"]),
    (Freezing(steps=0.2, unfreeze_every=0.1), 10,
     ["all"] * 2 + ["layer 3", "layer 2", "layer 1", "projection"] + [""] * 4),
    (Freezing(steps=0.2, unfreeze_every=0.1), 2, ["all", ""]),
]  # fmt: skip


@pytest.mark.parametrize(("freezing", "total", "expected"), TIMELINES)
def test_what_is_frozen_at_each_step(freezing: Freezing, total: int, expected: list[str]) -> None:
    assert timeline(freezing, total) == expected
    assert freezing.changes or len(set(expected)) == 1


@pytest.mark.parametrize(("freezing", "total", "expected"), TIMELINES)
def test_phases_say_the_same(freezing: Freezing, total: int, expected: list[str]) -> None:
    words = {"": "", "all": "backbone frozen"}
    at_once = [words.get(name, f"frozen up to {name}") for name in expected]
    phases = dict(freezing.phases(total, model_of()))
    found, now = [], ""
    for step in range(total):
        now = phases.get(step, now)
        found.append(now.replace("input", "projection"))  # what stands between it and layer 1
    assert found == at_once
    without_model = freezing.phases(total)
    assert without_model[0][0] == 0 and (without_model[0][1] == "backbone frozen") == (expected[0] == "all")
    if freezing.unfreeze_every is None:
        assert without_model == freezing.phases(total, model_of())
    else:
        assert without_model[-1][1] == "unfreezing layer by layer"


@pytest.mark.parametrize(
    ("backbone", "total"), some_pairs([*SSL_BACKBONES, *OWN_BACKBONES], [1, 2, 3, 10, 997], every=3)
)
def test_every_encoder_in_runs_of_any_length(backbone: str, total: int) -> None:
    for freezing in (Freezing(steps=0.25), Freezing("backbone"), Freezing(steps=0.1, unfreeze_every=0.05)):
        model = model_of(backbone, **({} if backbone in OWN_BACKBONES else MASKED))
        if freezing.unfreeze_every and backbone in OWN_BACKBONES:
            with pytest.raises(InputError, match=r"unfreeze_every: this encoder \(\w+\) has no layers"):
                freezing.check(total, model)
            continue
        freezing.check(total, model)
        frozen = []
        for step in range(total):
            freezing.apply(model, step, total)
            frozen.append(sum(not p.requires_grad for p in model.encoder.backbone.parameters()))
        if backbone == "spectrum":  # which has nothing that could be trained
            assert set(frozen) == {0}
            continue
        assert frozen == sorted(frozen, reverse=True)  # once trained, always trained
        assert frozen[-1] == (len(list(model.encoder.backbone.parameters())) if freezing.kind == "backbone" else 0)
        if freezing.kind == "none" and total > 1:
            assert model.encoder.frozen_rungs == 0 and frozen[0] == len(list(model.encoder.backbone.parameters()))
            assert sum(number == frozen[0] for number in frozen) == min(math.ceil(freezing.steps * total), total - 1)


def test_any_step_can_be_the_first() -> None:
    freezing = Freezing("cnn", steps=2, unfreeze_every=2)
    expected = timeline(freezing, 11)
    for step in (10, 0, 7, 3, 9, 1):  # in any order, as resumed runs come
        model = model_of()
        freezing.thaw(model)
        freezing.apply(model, step, 11)
        rested = {name for name, m in model.encoder.backbone.named_modules() if not m.training}
        assert (not model.encoder.backbone.training) == (expected[step] == "all")
        assert ("encoder.layers.2" in rested) == (expected[step] in ("all", "layer 3"))
        assert "feature_extractor" in rested


@pytest.mark.parametrize(
    ("freezing", "total", "backbone", "said"),
    [
        (Freezing(steps=12_500), 12_500, None, "the backbone is frozen for 12500 steps of a run of 12500: nothing of"),
        (Freezing(steps=3), 2, "wav2vec2", "give fewer freeze_steps, or a share of the run below 1"),
        (Freezing(unfreeze_every=2), 8, "wav2vec2", "unfrozen last would be so after 8 steps of a run of 8"),
        (Freezing(unfreeze_every=2), 8, "wav2vec2", "with 4 of 4 layers trained by its end; give a smaller"),
        (Freezing(steps=2, unfreeze_every=3), 8, "wav2vec2", "a run of 8, with 2 of 4 layers trained by its end"),
        (Freezing(layers=1, steps=6, unfreeze_every=3), 8, "wav2vec2", "with 1 of 4 layers trained by its end"),
        (Freezing(layers=4, unfreeze_every=2), 8, "wav2vec2", "freeze_layers 4 leaves no layer that unfreeze_every"),
        (
            Freezing(steps=0.5, unfreeze_every=0.2),
            100,
            "wav2vec2",
            "after 130 steps of a run of 100, with 3 of 4 layers",
        ),
        (Freezing(layers=5), 8, "wav2vec2", "can't freeze 5 layers: the encoder has 4"),
        (Freezing("cnn"), 8, "ecapa-tdnn", "this encoder (EcapaTDNN) has no feature encoder to freeze"),
    ],
)
def test_what_does_not_fit_is_refused(freezing: Freezing, total: int, backbone: str | None, said: str) -> None:
    model = None if backbone is None else model_of(backbone)
    with pytest.raises(InputError) as refusal:
        freezing.check(total, model)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    if model is not None:
        with pytest.raises(InputError):
            FreezingSteps(freezing).on_train_begin(None, state_at(0, total), None, model=model)


OPENINGS = [
    (Freezing(), 9, [], ""),
    (Freezing("cnn", layers=2, steps=2), 9, [], "all up to layer 2"),
    (Freezing("backbone"), 9, [], "backbone"),
    (
        Freezing(unfreeze_every=1),
        9,
        [(0, "layer 4"), (1, "layer 3"), (2, "layer 2"), (3, "layer 1"), (4, "the rest")],
        "",
    ),
    (
        Freezing("cnn", steps=2, unfreeze_every=1),
        9,
        [(2, "layer 4"), (3, "layer 3"), (4, "layer 2"), (5, "layer 1"), (6, "the rest")],
        "cnn",
    ),
    (
        Freezing("cnn+projection", layers=2, unfreeze_every=0.5),
        8,
        [(0, "layer 4"), (4, "layer 3")],
        "all up to layer 2",
    ),
    (Freezing(steps=0.2, unfreeze_every=0.1), 2, [(1, "the rest")], ""),
]


@pytest.mark.parametrize(("freezing", "total", "openings", "never"), OPENINGS)
def test_when_each_layer_opens(freezing: Freezing, total: int, openings: list[tuple[int, str]], never: str) -> None:
    model = model_of()
    assert (freezing.openings(total, model), freezing.never_trained) == (openings, never)
    for step, name in openings:  # a layer is trained from that step on, and not before
        layer = model.encoder.rungs()[0 if name == "the rest" and not never else _rung(model, name)]
        for at in {step - 1, step} - {-1}:
            freezing.apply(model, at, total)
            assert any(p.requires_grad for p in layer.parameters()) == (at == step)


def _rung(model: Any, name: str) -> int:
    names = [rung.name for rung in model.encoder.rungs()]
    return names.index("layer 1") - 1 if name == "the rest" else names.index(name)


def test_layers_that_are_held_back_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    FreezingSteps(Freezing(layers=3, unfreeze_every=1)).on_train_begin(None, state_at(0, 9), None, model=model_of())
    assert [record.message for record in caplog.records] == [
        "only 1 of 4 layers will be trained by the end: freeze_layers 3 keeps the others back from unfreeze_every"
    ]
    caplog.clear()
    for freezing in (Freezing(unfreeze_every=1), Freezing(layers=3)):
        FreezingSteps(freezing).on_train_begin(None, state_at(0, 9), None, model=model_of())
    assert not caplog.records


def state_at(step: int, total: int) -> Any:
    from transformers import TrainerState

    return TrainerState(global_step=step, max_steps=total)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "all"}, "unknown value of freeze 'all'; valid: backbone, cnn, cnn+projection, none"),
        ({"layers": -1}, "freeze_layers is -1; give a whole number of 0 or more"),
        ({"steps": -0.5}, "freeze_steps is -0.5; give optimiser steps, or a share of the run below 1"),
        ({"steps": float("nan")}, "freeze_steps is nan"),
        ({"unfreeze_every": 0}, "unfreeze_every is 0; give optimiser steps"),
        ({"kind": "backbone", "steps": 3}, "freeze backbone is for good: leave out freeze_steps"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refusal:
        Freezing(**values)
    assert said in str(refusal.value)


# In the Trainer.


class Utterances(Dataset):
    """Waveforms of one length; labels 0, 1, 2, 0 ..."""

    def __init__(self, number: int = 16) -> None:
        self.waves = waveforms([4_000] * number)

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_values": self.waves[index], "labels": torch.tensor(index % 3)}


class Witness(TrainerCallback):
    """Copies all parameters, and what is in training mode, behind every optimiser step."""

    def __init__(self, model: HfSpeechForSequenceClassification) -> None:
        self.model = model
        self.weights = [self.copied()]
        self.modes: list[bool] = []

    def copied(self) -> dict[str, Tensor]:
        return {name: values.clone() for name, values in self.model.state_dict().items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.weights.append(self.copied())
        self.modes.append(self.model.encoder.backbone.training)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model.train()  # as whoever comes after a validation may do

    def moved(self, step: int) -> set[str]:
        before, after = self.weights[step], self.weights[step + 1]
        return {name for name in before if not torch.equal(before[name], after[name])}


def trainer_of(folder: Path, freezing: Freezing, model: Any, *callbacks: TrainerCallback, **values: Any) -> Trainer:
    given: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "max_steps": STEPS, "learning_rate": 1e-2,
        "weight_decay": 0.1, "lr_scheduler_type": "constant", "save_strategy": "no", "use_cpu": True, "seed": 0,
        "disable_tqdm": True, "logging_strategy": "no", "eval_strategy": "steps", "eval_steps": 1,
        "ddp_find_unused_parameters": True,
    }  # fmt: skip
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**{**given, **values}),
        train_dataset=Utterances(),
        eval_dataset=Utterances(4),
        callbacks=[FreezingSteps(freezing), *callbacks],
    )
    freezing.thaw(model)
    return trainer


GRADUAL = Freezing("cnn", steps=2, unfreeze_every=1)
# Which parameters of the backbone move in each of the eight steps, by the rungs that are trained.
LOWER = ("feature_projection.", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layer_norm.")
TRAINED: list[tuple[str, ...]] = [(), (), *(tuple(f"encoder.layers.{i}." for i in range(k, 4)) for k in (3, 2, 1, 0))]
TRAINED += [(*LOWER, "encoder.layers.")] * 2


def test_parameters_move_from_their_step_on_and_not_a_bit_before(tmp_path: Path) -> None:
    model = model_of(**MASKED)
    witness = Witness(model)
    trainer = trainer_of(tmp_path, GRADUAL, model, witness)
    trainer.train()
    names = [name for name, _ in model.named_parameters()]
    in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    ever = {name for name, p in model.named_parameters() if id(p) in in_optimizer}
    assert ever == {name for name in names if not name.startswith(f"{PREFIX}feature_extractor.")}
    for step, trained in enumerate(TRAINED):
        prefixes = tuple(f"{PREFIX}{part}" for part in trained)
        expected = {name for name in names if not name.startswith(PREFIX) or (prefixes and name.startswith(prefixes))}
        assert witness.moved(step) == expected, step
    assert witness.modes == [False] * 2 + [True] * 6


def test_statistics_of_batch_norms_wait_as_well(tmp_path: Path) -> None:
    model = model_of("ecapa-tdnn")
    witness = Witness(model)
    trainer_of(tmp_path, Freezing(steps=3), model, witness).train()
    buffers = {name for name, _ in model.named_buffers() if name.startswith(PREFIX)}
    assert len(buffers) > 20
    for step in range(STEPS):
        assert witness.moved(step) & buffers == (set() if step < 3 else buffers)


def test_a_resumed_run_is_in_the_right_phase(tmp_path: Path) -> None:
    whole = model_of(**MASKED)
    trainer_of(tmp_path / "whole", GRADUAL, whole, save_strategy="steps", save_steps=1).train()
    for step in (1, 2, 4, 7):
        again = model_of(**MASKED)
        trainer = trainer_of(tmp_path / "again", GRADUAL, again)
        trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        expected = whole.state_dict()
        assert all(torch.equal(values, expected[name]) for name, values in again.state_dict().items()), step


def test_low_rank_updates_wait_and_nothing_else_is_thawed(tmp_path: Path) -> None:
    model = model_of()
    before = {name: p.detach().clone() for name, p in model.encoder.backbone.named_parameters()}
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # peft asks for it by its old name
        adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], modules_to_save=["heads.0"]))
    trainer = trainer_of(tmp_path, Freezing(steps=3), adapted, eval_strategy="no")
    witness = Witness(model)
    trainer.add_callback(witness)
    trainer.train()
    for step in range(STEPS):
        moved = witness.moved(step)
        assert any("lora_" in name for name in moved) == (step >= 3)
        assert any("modules_to_save" in name for name in moved)
        assert all("lora_" in name or "modules_to_save" in name for name in moved)
    after = {name.replace(".base_layer", ""): p for name, p in model.encoder.backbone.named_parameters()}
    assert all(torch.equal(after[name], values) for name, values in before.items())


def distributed(folder: Path) -> dict[str, Any]:
    """One rank's run; what moved in each step."""
    model = model_of(**MASKED)
    witness = Witness(model)
    trainer = trainer_of(folder / "run", GRADUAL, model, witness, per_device_train_batch_size=2)
    trainer.train()
    wrapped = type(trainer.model_wrapped).__name__
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    gathered = [torch.zeros_like(flat) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, flat)
    return {
        "wrapped": wrapped,
        "moved": [sorted(witness.moved(step)) for step in range(STEPS)],
        "names": [name for name, _ in model.named_parameters()],
        "ranks_agree": all(torch.equal(flat, other) for other in gathered),
    }


@pytest.mark.slow
def test_on_two_ranks(tmp_path: Path) -> None:
    finish_ranks(__file__, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["wrapped"] == "DistributedDataParallel" and found["ranks_agree"]
    for step, trained in enumerate(TRAINED):
        prefixes = tuple(f"{PREFIX}{part}" for part in trained)
        names = found["names"]
        expected = [name for name in names if not name.startswith(PREFIX) or (prefixes and name.startswith(prefixes))]
        assert found["moved"][step] == sorted(expected), step


def main() -> None:
    folder = Path(sys.argv[1])
    found = distributed(folder)
    if torch.distributed.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
