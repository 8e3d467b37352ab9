"""K-means on frames: centroids, labels in files, and the command `hf-speech cluster`."""

import csv
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.cluster import MiniBatchKMeans
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from hf_speech.audio import read_audio, write_audio
from hf_speech.cli import main
from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.files import sha256_of
from hf_speech.layers.encoders import load_layers
from hf_speech.layers.passes import frames_of_rows
from hf_speech.pretraining import cluster_rows, clusters
from hf_speech.pretraining.cluster_options import ClusterOptions, FitOptions
from hf_speech.pretraining.cluster_rows import cluster
from hf_speech.pretraining.clusters import Codebook, fit_codebook, load_codebook
from hf_speech.pretraining.frame_labels import LabelWriter, fitted_on, read_frame_labels, write_fitted_on
from hf_speech.pretraining.spool import FrameSpool, drawn_frames
from hf_speech.testing import tiny_backbone_config, write_fake_corpus

from ..models.tiny import lively

COUNTS = [4, 16]
FILES = ["codebook.safetensors", "fitted_on.parquet", "labels.parquet"]


# --- frames on the disk, and centroids --------------------------------------------------------------------------------


def spool_of(path: Path, frames: np.ndarray) -> FrameSpool:
    spool = FrameSpool(path, frames.shape[1])
    for place, part in enumerate(np.array_split(frames, 7)):
        spool.add(place, part)
    return spool


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 5)).astype(np.float32)


def test_a_spool_gives_every_frame_once_and_mixes_recordings(tmp_path: Path) -> None:
    frames = noise(1_000)
    with spool_of(tmp_path / "f", frames) as spool:
        mixed = list(spool.batches(120, np.random.default_rng(0)))
        assert [len(batch) for batch in mixed] == [128] * 7 + [104]
        assert len(np.unique(np.searchsorted(np.sort(frames[:, 0]), np.concatenate(mixed)[:, 0]))) == 1_000
        assert not np.array_equal(mixed[0], frames[:128])
        assert np.array_equal(np.concatenate(list(spool.batches(100))), frames)
        assert np.array_equal(np.concatenate([part for _, part in spool.of_recordings()]), frames)
        sample = spool.sample(900, np.random.default_rng(0))
        assert len(np.unique(sample[:, 0])) == 900 and np.isin(sample[:, 0], frames[:, 0]).all()
    assert not (tmp_path / "f").exists()


def test_frames_are_drawn_by_share_and_by_the_name_alone() -> None:
    counts = [len(drawn_frames(f"{i}.wav", 3, 0.25, seed=0)) for i in range(2_000)]
    assert np.mean(counts) == pytest.approx(0.75, abs=0.05)  # not 0, which 3 / 4 rounds to
    chosen = drawn_frames("a.wav", 100, 0.5, seed=0)
    assert len(np.unique(chosen)) == len(chosen) == 50 and chosen.max() < 100
    assert not np.array_equal(chosen, drawn_frames("a.wav", 100, 0.5, seed=1))
    assert not np.array_equal(chosen, drawn_frames("b.wav", 100, 0.5, seed=0))


def test_blobs_that_lie_apart_are_found(tmp_path: Path) -> None:
    places = np.array([[0.0] * 5, [20.0] * 5, [-20.0, 20.0, 0.0, 0.0, 0.0]])
    frames = (noise(3_000) + np.repeat(places, [500, 1_000, 1_500], axis=0)).astype(np.float32)
    with spool_of(tmp_path / "f", np.random.default_rng(1).permutation(frames)) as spool:
        codebook = fit_codebook(spool, [3, 2])
    found = codebook.centroids[3]
    apart = np.linalg.norm(found[:, None] - places, axis=-1)
    assert apart.min(axis=0).max() < 0.2 and list(codebook.centroids) == [2, 3]
    use = codebook.facts["use"]["3"]
    # The variance of each of 5 dimensions is 1; the entropy of shares 1/6, 1/3, 1/2 is 1.0114 nats.
    assert use["inertia"] == pytest.approx(5.0, rel=0.05)
    assert use["used"] == 3 and use["perplexity"] == pytest.approx(np.exp(1.0114), rel=1e-3)
    labels = codebook.nearest(places.astype(np.float32))[3]
    assert labels.tolist() == apart.argmin(axis=0).tolist() and labels.dtype == np.int16


def test_the_seed_decides_and_not_the_other_counts(tmp_path: Path) -> None:
    def fitted(seed: int, counts: Sequence[int] = (8, 32)) -> dict[int, np.ndarray]:
        with spool_of(tmp_path / "f", noise(2_000)) as spool:
            return fit_codebook(spool, counts, seed=seed, epochs=2).centroids

    first, again, other, alone = fitted(0), fitted(0), fitted(1), fitted(0, [32])
    assert all(np.array_equal(first[count], again[count]) for count in (8, 32))
    assert not np.allclose(first[8], other[8]) and np.array_equal(first[32], alone[32])


def test_no_more_than_a_batch_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    fit = MiniBatchKMeans.partial_fit
    monkeypatch.setattr(clusters, "BATCH_FRAMES", 64)
    monkeypatch.setattr(MiniBatchKMeans, "partial_fit", lambda self, X: sizes.append(len(X)) or fit(self, X))
    with spool_of(tmp_path / "f", noise(1_000)) as spool:
        fit_codebook(spool, [8, 90], epochs=2)
    # As many as there are clusters, where these are more than a batch, in whole blocks of 32.
    assert max(sizes) == 96 and sizes[0] == 96 and sum(sizes) == 2 * 2 * 1_000


def test_more_clusters_than_frames_are_refused(tmp_path: Path) -> None:
    with spool_of(tmp_path / "f", noise(20)) as spool, pytest.raises(InputError, match="21 clusters of 20 frames"):
        fit_codebook(spool, [2, 21])


def test_large_numbers_of_clusters_have_room(tmp_path: Path) -> None:
    labels = {4: np.array([3, 0], np.int16), 40_000: np.array([39_999, 32_768], np.int32)}
    with LabelWriter(tmp_path / "labels.parquet", list(labels), first=0.1, hop=0.2, codebook="") as writer:
        writer.add("a", "train", 0.1, labels)
    back = read_frame_labels(tmp_path)["a"]
    assert all(np.array_equal(back[count], labels[count]) for count in labels)
    assert [back[count].dtype for count in labels] == [np.int16, np.int32]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    lively(AutoModel.from_config(tiny_backbone_config(num_hidden_layers=3))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return str(folder)


def with_splits(table: Path, tested: str = "speaker02") -> Path:
    """A table like the one given, with that speaker's recordings as the split test."""
    with table.open(newline="") as file:
        rows = [{**row, "split": "test" if row["speaker_id"] == tested else "train"} for row in csv.DictReader(file)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers to fit on and one held out, four recordings each."""
    return with_splits(write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=3, per_speaker=4))


def fit(**values: object) -> ClusterOptions:
    return ClusterOptions(FitOptions(**{"layer": 2, "counts": COUNTS, "epochs": 2, **values}))


@pytest.fixture(scope="module")
def fitted(model: str, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clusters") / "made"
    cluster(model, str(table), folder, fit(format="json"))
    return folder


def test_every_frame_of_the_rows_that_were_fitted_on_has_labels(model: str, table: Path, fitted: Path) -> None:
    labels = read_frame_labels(fitted)
    files = sorted(path for path in (table.parent / "audio").iterdir() if "speaker02" not in path.name)
    assert sorted(labels) == [f"audio/{path.name}" for path in files] and labels.counts == COUNTS
    assert (labels.first, labels.hop) == (0.0125, 0.02)
    rows, _ = check_rows(rows_of_files(files))
    for path, samples in zip(files, rows["length"], strict=True):
        row = labels[f"audio/{path.name}"]
        assert [len(row[count]) for count in COUNTS] == [1 + (samples - 400) // 320] * 2
        assert all(0 <= row[count].min() and row[count].max() < count for count in COUNTS)
    facts = json.loads((fitted / "clusters.json").read_text())
    frames = sum(len(row[4]) for row in labels.values())
    assert facts["codebook"]["frames"] == facts["labels"]["splits"]["train"]["frames"] == frames
    used = {count: len(np.unique(np.concatenate([row[count] for row in labels.values()]))) for count in COUNTS}
    assert {int(count): use["used"] for count, use in facts["codebook"]["use"].items()} == used
    assert not (fitted / ".partial").exists()


def test_the_json_files_say_the_same(fitted: Path) -> None:
    labels = read_frame_labels(fitted)
    plain = {Path(name).name: {count: row[count].tolist() for count in COUNTS} for name, row in labels.items()}
    for count in COUNTS:
        single = json.loads((fitted / f"{count}-clus.json").read_text())
        assert single == {name: row[count] for name, row in plain.items()}
    everything = json.loads((fitted / "all-clus.json").read_text())
    assert everything == {name: [row[count] for count in COUNTS] for name, row in plain.items()}


def test_a_codebook_labels_other_rows_by_the_nearest_centroid(
    model: str, table: Path, fitted: Path, tmp_path: Path
) -> None:
    options = ClusterOptions(FitOptions(codebook=str(fitted), apply=["test"], counts=[16]))
    cluster(model, str(table), tmp_path / "o", options)
    labels, centroids = read_frame_labels(tmp_path / "o"), load_codebook(fitted).centroids[16].astype(float)
    files = sorted((table.parent / "audio").glob("speaker02*"))
    rows, _ = check_rows(rows_of_files(files))
    for place, (frames,) in frames_of_rows(load_layers(model, 2), rows):
        far = np.linalg.norm(frames[:, None].astype(float) - centroids, axis=-1)
        assert labels[f"audio/{files[place].name}"][16].tolist() == far.argmin(axis=1).tolist()
    assert len(labels) == 4 and labels.counts == [16]
    # What was fitted on is told of the labels of other rows too.
    learned = sorted(path for path in (table.parent / "audio").iterdir() if "speaker02" not in path.name)
    told = [(sha256_of(path), 0.0, math.inf) for path in learned]
    assert fitted_on(tmp_path / "o") == fitted_on(fitted / "labels.parquet") == told


def test_what_is_tested_on_has_no_part_in_it(model: str, table: Path, fitted: Path, tmp_path: Path) -> None:
    other = with_splits(write_fake_corpus(tmp_path / "corpus", speakers=3, per_speaker=4))
    for path in (other.parent / "audio").glob("speaker02*"):  # the held-out speaker sounds otherwise here
        write_audio(path, read_audio(table.parent / "audio" / path.name.replace("02", "00"))[2_000:])
    cluster(model, str(other), tmp_path / "o", fit(apply=["all"]))
    assert (tmp_path / "o" / FILES[0]).read_bytes() == (fitted / FILES[0]).read_bytes()
    labels, before = read_frame_labels(tmp_path / "o"), read_frame_labels(fitted)
    assert len(labels) == 12 and all(np.array_equal(labels[name][16], before[name][16]) for name in before)


def test_a_share_of_the_frames_is_fitted_on_and_all_have_labels(
    model: str, table: Path, fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = cluster(model, str(table), tmp_path / "o", fit(sample_ratio=0.5, apply=["all"]))
    assert f"16 clusters of {facts['codebook']['frames']} frames: " in caplog.text
    whole = json.loads((fitted / "clusters.json").read_text())["codebook"]["frames"]
    assert facts["codebook"]["frames"] == pytest.approx(whole / 2, abs=8)
    labels, before = read_frame_labels(tmp_path / "o"), read_frame_labels(fitted)
    assert len(labels) == 12 and all(len(labels[name][4]) == len(before[name][4]) for name in before)


REFUSED = {
    "--layer 4": "no layer 4; it has layers 1 to 3",
    "--layer 2 --counts 9999": "9999 clusters of",
    "--layer 2 --counts 1": "from 2 up",
    "--layer 2 --counts 1048577": "from 2 up to 1048576",
    "--layer 2 --counts 4,x": "'x' is not of the kind int",
    "--counts 4": "give --layer",
    "--layer 2 --sample-ratio 0": "a share above 0",
    "--layer 2 --split dev": "unknown split",
    "--layer 2 --on-bad-audio skip --check-audio headers": "needs --check-audio full",
    "--layer 2 --counts 4 --output-dir FITTED": "holds clusters already",
    "--codebook FITTED --layer 3": "was fitted on layer 2",
    "--codebook FITTED --counts 5": "has no 5 clusters; it has 4, 16",
    "--codebook FITTED --output-dir FITTED --overwrite": "would be lost",
    "--codebook FITTED --sample-ratio 0.3 --epochs 3 --seed 9": "--sample-ratio, --epochs, --seed: with --codebook not",
    "--codebook FITTED --split test": "--split: with --codebook nothing is fitted",
    "--codebook TABLE": "no codebook in it",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_can_t_be_used_is_refused_in_a_line(
    words: str, model: str, table: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = words.replace("FITTED", str(fitted)).replace("TABLE", str(table.parent)).split()
    place = [] if "--output-dir" in given else ["--output-dir", str(tmp_path / "o")]
    assert main(["cluster", model, str(table), *given, *place]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("hf-speech cluster: ") and REFUSED[words] in said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["64-clus.json", "all-clus.json", "labels.parquet"])
def test_files_that_no_cluster_wrote_stay(
    name: str, model: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / name).write_text("the user's own")
    words = ["cluster", model, str(table), "--layer", "2", "--counts", "4", "--output-dir", str(tmp_path)]
    assert main(words) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith(f"hf-speech cluster: {tmp_path / name}: would be lost") and "or --overwrite" in said
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "the user's own"}


def test_what_another_wrote_meanwhile_stays(
    model: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cluster_rows.read_recordings

    def slowly(*given: object) -> object:
        monkeypatch.setattr(cluster_rows, "read_recordings", read)
        cluster(model, str(table), tmp_path, fit(counts=[3]))
        return read(*given)

    monkeypatch.setattr(cluster_rows, "read_recordings", slowly)
    with pytest.raises(InputError, match="holds clusters already"):
        cluster(model, str(table), tmp_path, fit(counts=[5]))
    assert list(load_codebook(tmp_path).centroids) == [3]


def test_a_codebook_of_another_encoder_is_refused(table: Path, fitted: Path, tmp_path: Path) -> None:
    lively(AutoModel.from_config(tiny_backbone_config(num_hidden_layers=3)), 1).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="they differ by weights"):
        cluster(str(tmp_path), str(table), tmp_path / "o", ClusterOptions(FitOptions(codebook=str(fitted))))


def test_frames_that_are_no_numbers_are_refused(table: Path, tmp_path: Path) -> None:
    broken = AutoModel.from_config(tiny_backbone_config(num_hidden_layers=2))
    broken.encoder.layers[1].final_layer_norm.bias.data[0] = np.nan
    broken.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"^audio/speaker0.*\.wav: layer 2 has NaN"):
        cluster(str(tmp_path), str(table), tmp_path / "o", fit())
    assert list((tmp_path / "o").iterdir()) == []


def test_rows_that_can_t_be_told_apart_and_rows_that_are_tested_on_are_refused(model: str, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    table = write_fake_corpus(tmp_path, speakers=1, per_speaker=2)
    sounds = sorted((tmp_path / "audio").iterdir())
    (tmp_path / "b" / sounds[0].name).write_bytes(sounds[1].read_bytes())
    first, second, third = (f"audio/{sounds[0].name}", f"audio/{sounds[1].name}", f"b/{sounds[0].name}")
    cases = {
        f"path,split\n{first},train\n{first},train\n": "several recordings",
        f"path,split\n{first},train\n{third},train\n": "leave --format json out",
        f"path,split\n{first},train\n{second},train\n{third},test\n": "tested on too",
        "path,split\n": "no rows",
    }
    for content, reason in cases.items():
        table.write_text(content)
        with pytest.raises(InputError, match=reason):
            cluster(model, str(table), tmp_path / "o", fit(format="json"))
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_another_process_gives_the_same_and_a_killed_one_nothing(
    model: str, table: Path, fitted: Path, tmp_path: Path
) -> None:
    done, killed = tmp_path / "done", tmp_path / "killed"
    words = ["cluster", model, str(table), "--layer", "2", "--counts", "4,16"]
    first = [*words, "--epochs", "2", "--output-dir", str(done)]
    second = [*words, "--epochs", "1000000", "--output-dir", str(killed)]
    code = f"from hf_speech.cli import main; assert main({first}) == 0; main({second})"
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not (killed / ".partial" / "frames.f32").exists():
            assert time.monotonic() < until and run.poll() is None
            time.sleep(0.02)
        with pytest.raises(InputError, match="another `cluster` writes there"):
            cluster(model, str(table), killed, fit())
    finally:
        run.kill()
        run.wait()
    for name in FILES:
        assert (done / name).read_bytes() == (fitted / name).read_bytes(), name
    assert [path.name for path in killed.iterdir()] == [".partial"]
    cluster(model, str(table), killed, fit())
    assert sorted(path.name for path in killed.iterdir()) == ["clusters.json", *FILES]
    assert (killed / FILES[2]).read_bytes() == (fitted / FILES[2]).read_bytes()


BOOK = {"k4": np.zeros((4, 32), np.float32), "k16": np.ones((16, 32), np.float32)}
FOREIGN_BOOKS: dict[str, tuple[dict[str, object], dict[str, object]]] = {  # centroids, facts; what is said of them
    "clusters.json: can't be read": ({}, {"layer": None}),
    "facts of a codebook; fit it anew": ({}, {"layer": -1}),
    "clusters.json: can't be": ({}, {"encoder": "x"}),
    "facts of a codebook": ({}, {"use": {}}),
    "the facts of": ({}, {"counts": []}),
    "as the facts": ({}, {"counts": 4}),
    "k3 is not 3 centroids": ({}, {"counts": [3], "use": {"3": {"used": 1, "perplexity": 1.0, "inertia": 0.0}}}),
    "k16 is not 16 centroids of one size": ({"k16": BOOK["k16"][:15]}, {}),
    "k16 is not 16 centroids": ({"k16": BOOK["k16"][:, :8].copy()}, {}),
    "k4 is not 4 centroids": ({"k4": BOOK["k4"].astype(np.int32)}, {}),
    "k4 has NaN or infinite numbers": ({"k4": BOOK["k4"] * np.nan}, {}),
    "they differ by numbers in a frame": ({"k4": BOOK["k4"][:, :8].copy(), "k16": BOOK["k16"][:, :8].copy()}, {}),
}


@pytest.mark.parametrize("said", FOREIGN_BOOKS)
def test_a_codebook_that_can_not_be_is_refused(
    said: str, model: str, table: Path, fitted: Path, tmp_path: Path
) -> None:
    centroids, told = FOREIGN_BOOKS[said]
    save_file(BOOK | centroids, tmp_path / FILES[0])
    content = json.loads((fitted / "clusters.json").read_text())
    content["codebook"] |= {"sha256": sha256_of(tmp_path / FILES[0]), **told}
    (tmp_path / "clusters.json").write_text(json.dumps(content))
    write_fitted_on(tmp_path, [], content["codebook"]["sha256"])
    with pytest.raises(InputError, match=said):
        cluster(model, str(table), tmp_path / "o", ClusterOptions(FitOptions(codebook=str(tmp_path))))


def test_a_damaged_codebook_is_refused(fitted: Path, tmp_path: Path) -> None:
    for name in ("clusters.json", FILES[0]):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    Codebook({4: np.zeros((4, 32), np.float32)}).save(tmp_path / FILES[0])
    with pytest.raises(InputError, match="is not the file that clusters.json beside it tells of"):
        load_codebook(tmp_path)
