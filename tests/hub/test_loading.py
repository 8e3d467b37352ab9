"""How a model that is not ours is loaded, in code that runs."""

import ast
import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.hub.card import render_card

from ..foreign import saved
from .examples import measured_only


def test_somebody_elses_model_is_loaded_without_this_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = measured_only("test")
    saved(tmp_path / "emotion-demo", "wav2vec2", labels=tuple(content["model"]["labels"]))
    soundfile.write(tmp_path / "speech.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    monkeypatch.chdir(tmp_path)
    section = render_card(content).partition("## How to load it")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert "import hf_speech" not in section and "trust_remote_code" not in section and "beside the" not in section
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(blocks), {})
    answer, ranked = printed.getvalue().splitlines()
    assert ast.literal_eval(ranked)[0]["label"] == answer
    content["run"]["arguments"]["trust_remote_code"] = True
    section = render_card(content).partition("## How to load it")[2].partition("\n## ")[0]
    assert section.count("trust_remote_code=True") == 3 and "--trust-remote-code" in section
    assert "read that before you let it run" in section
    content["model"]["architecture"] = "Wav2Vec2ForXVector"
    section = render_card(content).partition("## How to load it")[2].partition("\n## ")[0]
    assert "AutoModelForAudioXVector.from_pretrained" in section and "pipeline(" not in section
