"""`hf-speech export`: what it writes, what it refuses, and that it leaves nothing half done."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForAudioXVector

from hf_speech.audio import write_audio
from hf_speech.errors import InputError
from hf_speech.inference import load_model, predict
from hf_speech.models.conversion import from_stock
from hf_speech.models.pooling import POOLINGS, MeanPooling
from hf_speech.samples import sample_files
from hf_speech.serving import export as export_module
from hf_speech.serving import graph as graph_module
from hf_speech.serving.exactness import LIMIT, agreement, check, heard_by_torch, utterances
from hf_speech.serving.export import ExportOptions, best_times, export, told, write_onnx
from hf_speech.serving.facts import KEY, Facts
from hf_speech.serving.graph import served
from hf_speech.serving.predict import predict as onnx_predict
from hf_speech.serving.session import load_onnx
from hf_speech.serving.smaller import MATRICES, SCOPES, nodes_of

from ..foreign import by_hand, saved
from ..training.runs import command, read_json, refusal
from .cases import Case, model_of
from .conftest import XVECTOR, Exported

PLAIN: Case = ("spectrum", {}, {"pooling": "max"})
SHORT = (0.5, 1.7)


def graph_of(folder: Path, name: str) -> Any:
    return onnx.load(str(folder / name)).graph


def weights_of(graph: Any, kind: int) -> int:
    """Numbers of a type that are stored in the backbone and the projection, but for vectors (biases, scales)."""
    return sum(int(np.prod(t.dims)) for t in graph.initializer if t.data_type == kind and len(t.dims) > 1)


def test_a_folder_says_what_was_made(xvector: Exported) -> None:
    files = {"model.onnx", "model.int8.onnx", "model.half.onnx"}
    assert {path.name for path in xvector.folder.iterdir()} == files | {"export.json"}
    report = read_json(xvector.folder / "export.json")
    assert set(report["files"]) == files and report["opset"] == 17 and report["limit"] == LIMIT
    for name, made in report["files"].items():
        assert made["megabytes"] == pytest.approx((xvector.folder / name).stat().st_size / 1e6)
        assert made["agreement"]["utterances"] == 10 and made["speed"] > 0
    full = report["files"]["model.onnx"]["agreement"]
    assert max(full["differences"].values()) <= LIMIT and full["labels"] == 1 and full["cosine"] > 0.999_999
    for name in files - {"model.onnx"}:
        smaller = report["files"][name]
        assert smaller["agreement"]["cosine"] > 0.999 and smaller["agreement"]["labels"] >= 0.9
        # What is rounded differs: a smaller file that were the same would have been made for nothing.
        assert smaller["agreement"]["differences"]["embeddings"] > 10 * full["differences"]["embeddings"]
    assert report["files"]["model.int8.onnx"]["size"] < 0.5 < report["files"]["model.half.onnx"]["size"] < 0.75


def test_a_file_is_enough_by_itself(two_tasks: Exported) -> None:
    model = onnx.load(str(two_tasks.folder / "model.onnx"))
    content = json.loads({prop.key: prop.value for prop in model.metadata_props}[KEY])
    assert [task["name"] for task in content["tasks"]] == ["emotion", "age"]
    assert content["tasks"][0]["labels"] == ["sad", "glad", "calm"] and content["tasks"][1]["unit"] == "y"
    assert [task["problem_type"] for task in content["tasks"]] == ["single_label_classification", "regression"]
    assert content["sampling_rate"] == 16_000 and content["min_samples"] == 400
    assert content["outputs"] == [one.name for one in model.graph.output]
    assert {"torch", "transformers", "onnx", "onnxruntime"} <= set(content["versions"])
    kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.input}
    assert kinds == {"input_values": onnx.TensorProto.FLOAT, "attention_mask": onnx.TensorProto.INT64}
    sizes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", "samples"]


def test_8_bits_are_in_the_backbone_alone(xvector: Exported) -> None:
    full, small = graph_of(xvector.folder, "model.onnx"), graph_of(xvector.folder, "model.int8.onnx")
    stored = {tensor.name: tensor for tensor in small.initializer}
    types = {
        node.name: stored[node.input[1]].data_type for node in small.node if node.input[1:] and node.input[1] in stored
    }
    for scope in ("/frontend/", "/heads."):
        kinds = {node.op_type for node in small.node if scope in node.name}
        assert "MatMul" in kinds and not any("Integer" in kind or "Quantize" in kind for kind in kinds)
    whole_numbers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    rounded = [name for name, kind in types.items() if kind in whole_numbers and "quant" in name]
    assert len(rounded) == 5 and not any("/frontend/" in name or "/heads." in name for name in rounded)
    assert all(any(scope in name for scope in SCOPES) for name in rounded)
    assert weights_of(small, onnx.TensorProto.FLOAT) < 0.4 * weights_of(full, onnx.TensorProto.FLOAT)


def test_half_precision_does_not_touch_the_waveform(xvector: Exported) -> None:
    graph = graph_of(xvector.folder, "model.half.onnx")
    casts = [node for node in graph.node if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16]
    full = graph_of(xvector.folder, "model.onnx")
    assert len(casts) == len(nodes_of(full, (*MATRICES, "Conv"))) == 5
    assert not any(node.input[0] == "input_values" for node in casts)
    assert all(any(scope in node.name for scope in SCOPES) for node in casts)
    assert weights_of(graph, onnx.TensorProto.FLOAT16) > 3 * weights_of(graph, onnx.TensorProto.FLOAT)


def baked(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """What a trace keeps: the number of frames of the example."""
    return MeanPooling(frames.shape[-1])(frames, frame_mask) * (1 + 0.01 * int(frame_mask.sum(-1)[0]))


def leaky(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """What an utterance alone does not show."""
    return frames.mean(1)


def impossible(frames: Tensor, frame_mask: Tensor) -> Tensor:
    return torch.linalg.svdvals(frames.transpose(1, 2) @ frames)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            baked,
            r"not exact: .* differ by .* on \w+ of .* \(limit 0.0001\), which the model below the head \(backbone",
        ),
        (leaky, r"not exact: .* differ by .* of .*, padded in a batch \(limit"),
        (impossible, r"speech.pooling can't be exported to ONNX .*linalg_svdvals"),
    ],
)
def test_what_is_not_exact_or_not_possible_is_not_written(
    rule: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RulePooling(MeanPooling):
        def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
            return rule(frames, frame_mask)

    monkeypatch.setitem(POOLINGS, "rule", RulePooling)
    model = model_of(("spectrum", {}, {"pooling": "rule"}))
    with pytest.raises(InputError, match=said):
        export(model, model.make_feature_extractor(), "mine", tmp_path / "served", ExportOptions())
    assert list(tmp_path.iterdir()) == []  # nor anything beside it


def test_the_part_that_differs_is_named(tmp_path: Path) -> None:
    model = model_of(PLAIN)
    extractor = model.make_feature_extractor()
    whole = served(model, extractor, "tiny")
    write_onnx(whole, tmp_path / "model.onnx")
    classifier = load_onnx(tmp_path / "model.onnx", threads=1)
    given = utterances(whole.facts, seconds=SHORT)
    check(agreement(classifier, heard_by_torch(whole, model, extractor, given)), whole.facts)
    with torch.no_grad():
        model.head.classifier.bias.add_(torch.tensor([0.01, 0.0, 0.0]))
    found = agreement(classifier, heard_by_torch(whole, model, extractor, given))
    assert found.differences["logits"] > 1e-4 > found.differences["embeddings"]
    with pytest.raises(InputError, match=r"logits differ by .*, which the head makes"):
        check(found, whole.facts)
    with torch.no_grad():
        model.head.classifier.weight.neg_()
        model.head.classifier.bias.neg_()
    turned = agreement(classifier, heard_by_torch(whole, model, extractor, given))
    assert turned.labels == 0 and turned.cosine > 0.999_999


def test_an_export_takes_the_place_of_another_only_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PATIENCE", 0.0)
    model_of(XVECTOR).save_pretrained(tmp_path / "model")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "model.int8.onnx").write_bytes(b"of another model")
    (folder / "notes.txt").write_text("mine")
    words = ("export", tmp_path / "model", "--output-dir", folder)
    assert "holds an earlier export; give --overwrite" in refusal(capsys, *words)
    assert (folder / "model.int8.onnx").read_bytes() == b"of another model"
    assert command(*words, "--overwrite", "--opset", "20") == 0
    # What is of another model is gone, what is somebody's is not.
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "model.onnx", "notes.txt"]
    assert onnx.load(str(folder / "model.onnx")).opset_import[0].version == 20
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["file", "MB"] and lines[1].startswith("model.onnx") and str(folder) in lines[2]


def test_large_weights_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "EXTERNAL_FROM", 1_000)
    monkeypatch.setattr(export_module, "PATIENCE", 0.0)
    model = model_of(XVECTOR)
    made = export(model, model.make_feature_extractor(), "mine", tmp_path / "a", ExportOptions(quantize="int8"))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"model.onnx", "model.onnx.data", "model.int8.onnx", "model.int8.onnx.data", "export.json"}
    assert (tmp_path / "a" / "model.onnx").stat().st_size < 0.2 * (tmp_path / "a" / "model.onnx.data").stat().st_size
    assert made[0].megabytes > 4 * sum(p.numel() for p in model.parameters()) / 1e6
    (tmp_path / "a").rename(tmp_path / "b")
    waveform = np.random.default_rng(0).standard_normal(9_000).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(waveform)[None]).logits.numpy()
    np.testing.assert_allclose(load_onnx(tmp_path / "b")([waveform])["logits"], wanted, atol=1e-5)


def test_a_model_is_as_it_was(tmp_path: Path) -> None:
    model = model_of(PLAIN).train()
    model.head.eval()
    before = {name: module.training for name, module in model.named_modules()}
    model.to(torch.bfloat16)
    export(model, model.make_feature_extractor(), "tiny", tmp_path / "made", ExportOptions())
    assert {name: module.training for name, module in model.named_modules()} == before
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("problem", "labels"), [("multi_label_classification", ("joy", "fear")), ("regression", ("age",))]
)
def test_a_stock_model_of_other_numbers(problem: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    folder = saved(tmp_path / "stock", "wav2vec2", problem_type=problem, labels=labels)
    model, extractor = load_model(folder)
    export(model, extractor, "stock", tmp_path / "served", ExportOptions())
    (row,) = onnx_predict(load_onnx(tmp_path / "served"), sample_files(1))
    (wanted,) = predict(model, extractor, sample_files(1))
    assert set(row) == set(wanted) and ("value" in row) is (problem == "regression")
    numbers = [row["value"]] if "value" in row else list(row["scores"].values())
    assert numbers == pytest.approx([wanted["value"]] if "value" in row else list(wanted["scores"].values()), abs=1e-4)


def test_a_stock_model_that_ours_stands_for_badly_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def badly(stock: Any) -> Any:
        model = from_stock(stock)
        with torch.no_grad():
            model.head.classifier.bias.add_(torch.tensor([0.01, 0.0, 0.0, 0.0]))
        return model

    monkeypatch.setattr(graph_module, "from_stock", badly)
    model, extractor = load_model(saved(tmp_path / "stock", "wav2vec2"))
    with pytest.raises(InputError, match="not exact: logits differ by .*, which the head makes"):
        export(model, extractor, "stock", tmp_path / "served", ExportOptions())
    assert not (tmp_path / "served").exists()


def test_a_model_that_is_broken_itself(tmp_path: Path) -> None:
    model = model_of(PLAIN)
    with torch.no_grad():
        model.head.classifier.bias[1] = torch.nan
    with pytest.raises(InputError, match=r"the model itself gives logits that are not finite on noise of 0.5 s"):
        export(model, model.make_feature_extractor(), "tiny", tmp_path / "served", ExportOptions())


def test_the_callers_autocast_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "PATIENCE", 0.0)
    model = model_of(PLAIN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (made,) = export(model, model.make_feature_extractor(), "tiny", tmp_path / "served", ExportOptions())
    assert max(made.agreement.differences.values()) < 1e-5


def test_a_models_own_folder_is_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_of(PLAIN).save_pretrained(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert "is a model's own folder; give another" in refusal(capsys, "export", tmp_path, "--output-dir", tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[1] * 500, [1] * 399 + [0] * 101], "row 1 of the batch: 399 samples, the model needs 400; leave it out"),
        ([[0] * 500], "row 0 of the batch: 0 samples"),
        ([[0] * 50 + [1] * 450], "row 0 of the batch: padded elsewhere than at the right end; pad it there"),
        ([[1] * 450 + [0] * 49 + [1]], "row 0 of the batch: padded elsewhere"),
    ],
)
def test_a_batch_that_would_be_misheard(mask: list[list[int]], said: str, two_tasks: Exported) -> None:
    values = np.zeros((len(mask), 500), np.float32)
    with pytest.raises(InputError, match=said):
        load_onnx(two_tasks.folder).run({"input_values": values, "attention_mask": np.array(mask)})


def test_what_is_refused_leaves_no_folder_and_the_earlier_export(tmp_path: Path) -> None:
    model = model_of(PLAIN)
    other = model.make_feature_extractor()
    other.sampling_rate = 8_000
    with pytest.raises(InputError, match="says 8000 Hz, its config 16000"):
        export(model, other, "tiny", tmp_path / "new" / "made", ExportOptions())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert"])
def test_a_stock_classifier_is_exported_as_ours(kind: str, tmp_path: Path) -> None:
    model, extractor = load_model(saved(tmp_path / "stock", kind))
    whole = served(model, extractor, "stock")
    write_onnx(whole, tmp_path / "model.onnx")
    waveform = 0.1 * np.random.default_rng(0).standard_normal(9_000).astype(np.float32)
    said = load_onnx(tmp_path / "model.onnx")([waveform])
    np.testing.assert_allclose(said["logits"][0], by_hand(model, extractor, waveform), atol=1e-5)


def test_a_stock_x_vector_gives_its_embeddings(tmp_path: Path) -> None:
    model, extractor = load_model(saved(tmp_path / "stock", "wav2vec2", AutoModelForAudioXVector))
    write_onnx(served(model, extractor, "stock"), tmp_path / "model.onnx")
    waveform = 0.1 * np.random.default_rng(0).standard_normal(9_000).astype(np.float32)
    inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).embeddings.numpy()
    np.testing.assert_allclose(load_onnx(tmp_path / "model.onnx")([waveform])["embeddings"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("audio-spectrogram-transformer", "ASTForAudioClassification is no stock audio classifier"),
        ("sew", "unknown backbone model_type 'sew'"),
    ],
)
def test_other_classifiers_are_refused(
    kind: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, "export", saved(tmp_path / "stock", kind), "--output-dir", tmp_path / "served")
    assert said in line and not (tmp_path / "served").exists()


def test_features_made_outside_are_refused(tmp_path: Path) -> None:
    _, extractor = load_model(saved(tmp_path / "stock", "audio-spectrogram-transformer"))
    with pytest.raises(InputError, match="mine: ASTFeatureExtractor makes its features outside the model"):
        served(model_of(PLAIN), extractor, "mine")


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    model = model_of(PLAIN)
    with pytest.raises(InputError, match=rf"needs {library}, which is not installed: pip install 'hf_speech\[onnx\]'"):
        export(model, model.make_feature_extractor(), "mine", tmp_path / "served", ExportOptions())


def test_what_can_not_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="opset 9 can't be written; give one of 17 to 20"):
        ExportOptions(opset=9)
    with pytest.raises(InputError, match="valid: int8"):
        ExportOptions(quantize="int4")
    model_of(PLAIN).save_pretrained(tmp_path / "model")
    write_audio(tmp_path / "silent.wav", np.zeros(16_000))
    words = ("export", tmp_path / "model", "--output-dir", tmp_path / "served", "--speech", tmp_path / "silent.wav")
    assert "silent.wav: is silent; give recordings of speech" in refusal(capsys, *words)
    (tmp_path / "served").write_text("a file")
    assert "is a file; give a folder" in refusal(capsys, *words)


def test_what_is_given_is_what_is_heard() -> None:
    facts = Facts(8_000, 200, (), "float32", 4, None, {}, {})
    names, waves = zip(*utterances(facts, seconds=(0.01, 1.5)), strict=True)
    assert names == ("noise of 0.01 s", "speech of 0.01 s", "noise of 1.5 s", "speech of 1.5 s")
    assert [len(wave) for wave in waves] == [200, 200, 12_000, 12_000]
    assert all(wave.dtype == np.float32 and 0.001 < wave[-8_000:].std() < 0.5 for wave in waves[2:])


def test_the_best_of_a_few_runs() -> None:
    calls: list[str] = []
    best = best_times({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, patience=10.0)
    assert calls == ["a", "b"] * 4 and set(best) == {"a", "b"} and all(0 <= value < 1 for value in best.values())
    calls.clear()
    best_times({"a": lambda: calls.append("a")}, rounds=3, patience=-1.0)
    assert len(calls) == 2
    assert told([], Path("x")).splitlines()[0].startswith("file")


def test_a_faint_voice_on_an_offset_is_normalised_exactly(tmp_path: Path) -> None:
    """Sums of 320,000 numbers in float32 are off by so much that the voice drowns."""
    model = model_of(PLAIN)
    extractor = model.make_feature_extractor()
    extractor.do_normalize = True
    write_onnx(served(model, extractor, "tiny"), tmp_path / "model.onnx")
    noise = np.random.default_rng(0).standard_normal(320_000)
    waveform = (0.1 + 5e-4 * noise).astype(np.float32)
    wide = waveform.astype(np.float64)
    normal = torch.from_numpy(((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)).astype(np.float32))
    with torch.no_grad():
        wanted = model.eval()(normal[None]).logits.numpy()
    np.testing.assert_allclose(load_onnx(tmp_path)([waveform])["logits"], wanted, atol=1e-4)
