"""A made-up VoxCeleb1 and VoxCeleb2: archives, folders, names and metadata as the real ones have them, at any size."""

import contextlib
import io
import itertools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio import SAMPLE_RATE, encode_audio, read_audio
from ..errors import InputError, lookup
from .voices import made_up_voice

SPEAKERS = {"vox1_dev": 4, "vox1_test": 4, "vox2_dev": 8, "vox2_test": 2}
LAYOUTS = {"zip": True, "tree": False}
FORMATS = {"m4a": "aac", "wav": "wav"}  # of VoxCeleb2; VoxCeleb1 is wav
_NATIONS = ("USA", "UK", "India")
_VOICES, _CLIPS = 16, 4  # distinct clips that are encoded: so many a voice
_VIDEO_ID = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
_DATE = (2018, 1, 1, 0, 0, 0)  # of all members: the same archive, whenever it is written

Write = Callable[[str, bytes], None]


@dataclass(frozen=True)
class _Speaker:
    """A speaker: its part, id, place among all (even: female), and utterances `id/video/00001` by video."""

    part: str
    id: str
    place: int
    sessions: list[list[str]]

    @property
    def gender(self) -> str:
        return "mf"[self.place % 2 == 0]

    @property
    def nation(self) -> str:
        return _NATIONS[self.place // 2 % len(_NATIONS)]

    @property
    def utterances(self) -> list[str]:
        return list(itertools.chain(*self.sessions))


def write_fake_voxceleb(
    folder: str | Path,
    *,
    speakers: Mapping[str, int] = SPEAKERS,
    sessions: tuple[int, int] = (3, 5),
    utterances: tuple[int, int] = (2, 4),
    seconds: tuple[float, float] = (0.6, 1.2),
    layout: str = "zip",
    format: str = "m4a",
    stored: bool = False,
    trials: int = 40,
    recordings: Sequence[str | Path] | None = None,
    seed: int = 0,
) -> Path:
    """Write a VoxCeleb of made-up voices: four parts, and in `meta/` the metadata and lists as they are distributed.

    Ids look like the real ones (id10001, id00012, videos of 11 characters, utterances of 5 digits) and do not depend on
    layout or format. To be fast, a few clips are encoded (64, or each recording once) and used again: a speaker keeps
    to one voice. Every file still has bytes of its own, since its number follows in a chunk (wav) or a box (m4a) that
    readers skip; converted, files of one clip are equal.

    Args:
        folder: where to write; made if it is not there.
        speakers: how many in vox1_dev, vox1_test, vox2_dev and vox2_test; a part that is not named is not written.
        sessions: least and most videos of a speaker.
        utterances: least and most utterances of a video.
        seconds: shortest and longest clip.
        layout: "zip": vox1_dev_wav.zip, vox2_dev_aac.zip and so on; "tree": voxceleb1/dev/wav, voxceleb2/dev/aac and so
            on, for wav voxceleb2/train/wav.
        format: "m4a" or "wav", of VoxCeleb2.
        stored: whether archives are not packed; by default they are, as the real ones.
        trials: lines of each test list at most.
        recordings: real speech to use in place of made-up voices: speaker k has the k-th, and from the first again.
        seed: of everything that is random.

    Returns:
        The folder.

    Raises:
        InputError: an unknown part, layout or format, or numbers that make no corpus.
    """
    lookup(LAYOUTS, layout, "layout of a corpus")
    lookup(FORMATS, format, "format of VoxCeleb2")
    for least, most in (sessions, utterances, seconds):
        if not 0 < least <= most:
            raise InputError(f"{least} to {most}: sessions, utterances and seconds need 0 < least <= most")
    root = Path(folder).absolute()
    everyone = _everyone(speakers, sessions, utterances, seed)
    voices = _made_up(seconds, seed) if recordings is None else [[read_audio(path)] for path in recordings]
    numbers = itertools.count()
    for part in speakers:
        suffix = format if part.startswith("vox2") else "wav"
        with _writer(root, part, suffix, layout, stored) as write:
            _write_part([s for s in everyone if s.part == part], voices, suffix, numbers, write)
    meta = root / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    for name, lines in _metadata(everyone, trials, seed).items():
        (meta / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


def _write_part(
    speakers: Sequence[_Speaker],
    voices: Sequence[Sequence[np.ndarray]],
    suffix: str,
    numbers: Iterator[int],
    write: Write,
) -> None:
    clips = [[_encoded(clip, suffix) for clip in voice] for voice in voices]
    for speaker in speakers:
        own = itertools.cycle(clips[speaker.place % len(clips)])
        for name in speaker.utterances:
            write(f"{name}.{suffix}", _numbered(next(own), suffix, next(numbers)))


def _everyone(
    speakers: Mapping[str, int], sessions: tuple[int, int], utterances: tuple[int, int], seed: int
) -> list[_Speaker]:
    """The speakers of all parts; each has its own generator, so that it is the same in a corpus of another size."""
    known: dict[str, list[int]] = {
        "vox1_dev": [*range(10_001, 10_270), *range(10_310, 11_252)],
        "vox1_test": [*range(10_270, 10_310)],
        "vox2_dev": [number for number in range(12, 10_000) if number % 50 != 17],
        "vox2_test": [*range(17, 10_000, 50)],
    }
    found: list[_Speaker] = []
    for part, count in speakers.items():
        numbers = lookup(known, part, "part of VoxCeleb")
        if not 0 < count <= len(numbers):
            raise InputError(f"{count} speakers in {part}: it has 1 to {len(numbers)}")
        for number in numbers[:count]:
            generator = np.random.default_rng([seed, number])
            videos = []
            for _ in range(generator.integers(sessions[0], sessions[1] + 1)):
                video = "".join(generator.choice(_VIDEO_ID, 11))
                first = int(generator.integers(1, 400)) if part.startswith("vox2") else 1
                count_here = int(generator.integers(utterances[0], utterances[1] + 1))
                videos.append([f"id{number:05d}/{video}/{first + k:05d}" for k in range(count_here)])
            found.append(_Speaker(part, f"id{number:05d}", len(found), videos))
    return found


def _made_up(seconds: tuple[float, float], seed: int) -> list[list[np.ndarray]]:
    voices = []
    for speaker in range(_VOICES):
        generator = np.random.default_rng([seed, speaker])
        lengths = generator.uniform(*seconds, size=_CLIPS)
        voices.append([made_up_voice(generator, speaker, speaker % 2, length) for length in lengths])
    return voices


def _encoded(waveform: np.ndarray, suffix: str) -> bytes:
    """A clip as 16-bit wav or as AAC in an m4a file, 16 kHz, mono."""
    if suffix == "wav":
        return encode_audio(waveform, SAMPLE_RATE, "WAV")
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        cut = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE, frame_size=1024)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            out.mux(stream.encode(piece))
    return file.getvalue()


def _numbered(content: bytes, suffix: str, number: int) -> bytes:
    """The file with a number behind its audio, which readers skip: the same sound, other bytes."""
    if suffix == "wav":
        grown = struct.pack("<I", struct.unpack_from("<I", content, 4)[0] + 16)  # the RIFF chunk holds all others
        return content[:4] + grown + content[8:] + struct.pack("<4sIQ", b"junk", 8, number)
    return content + struct.pack(">I4sQ", 16, b"free", number)


@contextlib.contextmanager
def _writer(root: Path, part: str, suffix: str, layout: str, stored: bool) -> Iterator[Write]:
    """What takes the name (`speaker/video/utterance.suffix`) and the content of a file."""
    corpus, half = part.split("_")
    kind = FORMATS[suffix]
    root.mkdir(parents=True, exist_ok=True)
    if layout == "zip":
        inner = "dev/aac" if kind == "aac" and half == "dev" else kind
        packing = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(root / f"{part}_{kind}.zip", "w", packing, compresslevel=1) as archive:

            def write(name: str, content: bytes) -> None:
                member = zipfile.ZipInfo(f"{inner}/{name}", _DATE)
                archive.writestr(member, content, packing, compresslevel=1)

            yield write
        return
    # Converted VoxCeleb2 is called train and test in the tree of few-samples, whose layout this is.
    named = "train" if corpus == "vox2" and kind == "wav" and half == "dev" else half
    tree = root / f"voxceleb{corpus[-1]}" / named / kind

    def write_file(name: str, content: bytes) -> None:
        path = tree / name
        try:
            path.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True)
            path.write_bytes(content)

    yield write_file


def _metadata(everyone: Sequence[_Speaker], trials: int, seed: int) -> dict[str, list[str]]:
    """The text files of `meta/`: name -> lines; blanks and tabs as in the real ones."""
    first = [speaker for speaker in everyone if speaker.part.startswith("vox1")]
    second = [speaker for speaker in everyone if speaker.part.startswith("vox2")]
    vox1 = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    vox1 += [f"{s.id}\tName_{s.place}\t{s.gender}\t{s.nation}\t{s.part[5:]}" for s in first]
    vox2 = ["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set "]
    vox2 += [f"{s.id} ,n{s.place:06d} ,{s.gender} ,{s.part[5:]} " for s in second]
    tested = [speaker for speaker in first if speaker.part == "vox1_test"]
    lists = {"veri_test2.txt": tested, "list_test_all2.txt": first, "list_test_hard2.txt": first}
    files: dict[str, list[str]] = {"vox1_meta.csv": vox1, "vox2_meta.csv": vox2, "iden_split.txt": _division(first)}
    for place, (name, speakers) in enumerate(lists.items()):
        generator = np.random.default_rng([seed, place])
        files[name] = _trials(speakers, trials, "hard" in name, generator)
    return {name: lines for name, lines in files.items() if lines}


def _division(speakers: Sequence[_Speaker]) -> list[str]:
    """iden_split.txt: of three videos or more the last is for testing (3), the one before it for validation (2)."""
    lines = []
    for speaker in speakers:
        count = len(speaker.sessions)
        for number, session in enumerate(speaker.sessions):
            part = max(1, 4 - (count - number)) if count > 2 else 1
            lines += [f"{part} {name}.wav" for name in session]
    return lines


def _trials(speakers: Sequence[_Speaker], count: int, hard: bool, generator: np.random.Generator) -> list[str]:
    """Targets and non-targets in turn, no line twice; in the hard list speakers share gender and nation."""
    lines: dict[str, None] = {}
    for attempt in range(4 * count if speakers else 0):
        one = speakers[int(generator.integers(len(speakers)))]
        alike = [s for s in speakers if not hard or (s.gender, s.nation) == (one.gender, one.nation)]
        target = attempt % 2 == 0
        others = [one] if target else [s for s in alike if s is not one]
        left = str(generator.choice(one.utterances))
        rights = [name for other in others for name in other.utterances if name != left]
        if rights and len(lines) < count:
            lines[f"{int(target)} {left}.wav {generator.choice(rights)}.wav"] = None
    return list(lines)
