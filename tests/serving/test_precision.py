"""Where a model runs and with how many bits, as `predict --device --dtype` says it."""

from pathlib import Path

import pytest
import torch

from hf_speech.errors import InputError
from hf_speech.inference import load_model, predict
from hf_speech.precision import placed
from hf_speech.samples import sample_files

from ..training.runs import command, refusal
from .conftest import Exported


def test_half_precision_is_of_the_products_alone(two_tasks: Exported) -> None:
    model, extractor = load_model(two_tasks.model)
    weights = {name: values.clone() for name, values in model.state_dict().items()}
    files = sample_files(2)
    full = predict(model, extractor, files)
    with placed(model, dtype="bfloat16"):
        half = predict(model, extractor, files)
    again = predict(model, extractor, files)
    assert again == full  # nothing of it is left
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())
    for one, other in zip(half, full, strict=True):
        difference = abs(one["score"] - other["score"])
        assert 1e-6 < difference < 0.05
        assert one["tasks"]["age"]["value"] == pytest.approx(other["tasks"]["age"]["value"], abs=0.05)


def test_weights_in_half_precision_can_be_read_in_whole(two_tasks: Exported, tmp_path: Path) -> None:
    model, extractor = load_model(two_tasks.model)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    model, extractor = load_model(tmp_path)
    assert model.dtype == torch.bfloat16
    files = sample_files(1)
    with placed(model, dtype="float32"):
        assert model.dtype == torch.float32
        (whole,) = predict(model, extractor, files)
    assert model.dtype == torch.bfloat16
    (wanted,) = predict(model.float(), extractor, files)
    assert whole == wanted


def test_weights_of_several_precisions_are_as_they_were(two_tasks: Exported) -> None:
    model, extractor = load_model(two_tasks.model)
    model.head.to(torch.float64)
    kinds = {name: values.dtype for name, values in model.state_dict().items()}
    assert len(set(kinds.values())) > 1
    with placed(model, dtype="float32"):
        assert {values.dtype for values in model.parameters()} == {torch.float32}
    for dtype in ("auto", "bfloat16"):
        with placed(model, dtype=dtype):
            assert {name: values.dtype for name, values in model.state_dict().items()} == kinds
    assert {name: values.dtype for name, values in model.state_dict().items()} == kinds


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--dtype", "float16", "--device", "cpu"),
            "dtype float16 is for GPUs, and the model runs on the CPU; take bfloat16",
        ),
        (("--device", "somewhere"), "device 'somewhere': there is none of that name; take auto, cpu or cuda"),
        (("--device", "meta"), "device 'meta': there is none of that name; take auto, cpu or cuda"),
        (("--device", "cuda:99"), "device cuda:99: "),
    ],
)
def test_what_can_not_be_is_refused(
    flags: tuple[str, ...], said: str, two_tasks: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, "predict", two_tasks.model, sample_files(1)[0], *flags)


def test_the_command_computes_in_the_precision_that_it_is_told(
    two_tasks: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for dtype in ("auto", "float32", "bfloat16"):
        assert command("predict", two_tasks.model, sample_files(1)[0], "--dtype", dtype, "--json") == 0
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1] != lines[2]


def test_another_precision_is_unknown(two_tasks: Exported) -> None:
    model, _ = load_model(two_tasks.model)
    with pytest.raises(InputError, match="unknown dtype 'int8'"), placed(model, dtype="int8"):
        pass
