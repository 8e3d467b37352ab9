"""What is installed here, what it can do, and what is known to break: `hf-speech doctor [--fix] [--json]`.

It has to work where `import torchaudio`, and with it most of transformers, fails. So it imports neither: versions come
from the packages' metadata, the kind of a torch build from the text of `torch/version.py`, and what a compiled library
is linked to from its bytes.

The known-broken pair: the torchaudio wheels of the public package index are linked to CUDA. Beside a CPU build of torch
the import raises OSError, and transformers imports torchaudio in `Trainer`, `pipeline` and every audio model. Without
its compiled files torchaudio runs as pure Python (`torchaudio/_extension` provides for that): all that speech
classification needs of it is there.
"""

import argparse
import ast
import importlib.metadata
import io
import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import EXIT_INPUT, EXIT_OK, one_line

if TYPE_CHECKING:
    import numpy as np

PACKAGES = (
    "torch torchaudio torchcodec transformers datasets evaluate huggingface_hub accelerate soundfile av safetensors "
    "numpy gradio peft onnx onnxruntime"
).split()
CUDA_LIBRARY = re.compile(rb"lib(?:c10_cuda|torch_cuda|cudart)\.so(?:\.\d+)*")
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
FORMATS = ("wav", "flac", "ogg", "mp3", "m4a")
ABSENT = "—"


@dataclass(frozen=True)
class Problem:
    """Something that will not work, and how to mend it.

    `files` are what the mend removes; `fixable` says that `--fix` does it.
    """

    what: str
    mend: str
    fixable: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was found; every value is plain, for `--json`.

    Attributes:
        python: version of the interpreter.
        platform: operating system and machine.
        versions: package -> version, or None where it is not installed.
        torch_build: "CPU", "CUDA 13.0", "ROCm 7.1", or None without torch.
        devices: lines on the processors and GPUs.
        decoders: format -> the library that decoded a sound in it here, or None.
        problems: what is broken.
    """

    python: str
    platform: str
    versions: dict[str, str | None]
    torch_build: str | None
    devices: list[str] = field(default_factory=list)
    decoders: dict[str, str | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def diagnose(site: Path | None = None) -> Report:
    """Look at this installation.

    Args:
        site: look for packages in this one folder alone, and try nothing out; None: the running Python, tried out too.
    """
    folders = [str(site)] if site is not None else sys.path
    versions = {name: _version(name, folders) for name in PACKAGES}
    build = _torch_build(folders)
    report = Report(platform.python_version(), platform.platform(), versions, build)
    report.problems.extend(_linkage_problems(folders, build))
    if site is None:
        _add_devices(report)
        _add_decoders(report)
    return report


def fix(report: Report) -> list[str]:
    """Mend what can be mended by removing files; says what was done, a line each. Doing it twice does no harm."""
    if report.torch_build is not None and report.torch_build != "CPU":
        return [f"torch is a {report.torch_build} build: its torchaudio may need its compiled files; nothing removed"]
    done = []
    for problem in report.problems:
        for name in problem.files if problem.fixable else ():
            try:
                Path(name).unlink()
                done.append(f"removed {name}")
            except FileNotFoundError:
                done.append(f"already gone: {name}")
            except OSError as error:
                done.append(f"could not remove {name} ({error.strerror}): run as the owner of the installation")
    return done or ["nothing to mend by removing files"]


def render(report: Report) -> str:
    """The report for people."""
    lines = [f"Python {report.python} on {report.platform}", "", "packages"]
    for name, version in report.versions.items():
        build = f"  ({report.torch_build} build)" if name == "torch" and report.torch_build else ""
        lines.append(f"  {name:<16} {version or ABSENT + ' not installed'}{build}")
    if report.devices:
        lines += ["", "devices", *(f"  {line}" for line in report.devices)]
    if report.decoders:
        lines += ["", "decoders (a sound was decoded in each format)"]
        lines += [f"  {suffix:<16} {library or ABSENT}" for suffix, library in report.decoders.items()]
    lines += ["", "problems" if report.problems else "no problems found"]
    for problem in report.problems:
        lines += [f"  {problem.what}", f"    mend: {problem.mend}"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command; 0 where all is well or was mended, 2 where something is still broken."""
    parser = argparse.ArgumentParser(prog="hf-speech doctor", description="What is installed, and what is broken.")
    parser.add_argument(
        "--fix", action="store_true", help="mend what removing files can mend (CUDA torchaudio, CPU torch)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--site", type=Path, help="look into this folder of packages instead, trying nothing out")
    args = parser.parse_args(argv)
    report = diagnose(args.site)
    done = fix(report) if args.fix else []
    if args.fix:
        report = diagnose(args.site)
    if args.json:
        print(json.dumps({**asdict(report), "fixed": done}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([render(report), *([""] if done else []), *done]))
    return EXIT_INPUT if report.problems else EXIT_OK


def _version(name: str, folders: list[str]) -> str | None:
    """A package's version from its metadata."""
    found = next(iter(importlib.metadata.distributions(name=name, path=folders)), None)
    return found.version if found else None


def _package_folder(name: str, folders: list[str]) -> Path | None:
    """Where a package's code lies."""
    candidates = (Path(folder) / name for folder in folders)
    return next((path for path in candidates if (path / "__init__.py").is_file()), None)


def _torch_build(folders: list[str]) -> str | None:
    """What torch was built for, from the assignments in torch/version.py."""
    torch = _package_folder("torch", folders)
    if torch is None or not (torch / "version.py").is_file():
        return None
    values = {}
    for node in ast.parse((torch / "version.py").read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if targets and isinstance(targets[0], ast.Name) and isinstance(getattr(node, "value", None), ast.Constant):
            values[targets[0].id] = node.value.value  # type: ignore[attr-defined]
    kinds = {"cuda": "CUDA", "hip": "ROCm", "xpu": "XPU"}
    return next((f"{kind} {values[key]}" for key, kind in kinds.items() if values.get(key)), "CPU")


def cuda_libraries(path: Path) -> list[str]:
    """CUDA libraries that a compiled library names, in its dynamic section or anywhere else in its bytes."""
    return sorted({match.decode() for match in CUDA_LIBRARY.findall(path.read_bytes())})


def _linkage_problems(folders: list[str], build: str | None) -> list[Problem]:
    """CUDA-linked torchaudio or torchcodec beside a torch without CUDA."""
    if build is None or build.startswith("CUDA"):
        return []
    problems = []
    for name, under in (("torchaudio", "lib"), ("torchcodec", ".")):
        package = _package_folder(name, folders)
        if package is None:
            continue
        compiled = sorted((package / under).glob("*.so"))
        linked = sorted({library for path in compiled for library in cuda_libraries(path)})
        if not linked:
            continue
        what = f"{name} is linked to CUDA ({', '.join(linked)}), but torch is a {build} build: importing {name} fails"
        if name == "torchaudio":
            what += ", and so does importing Trainer, pipeline and every audio model of transformers"
            fixable = build == "CPU"
            mend = "hf-speech doctor --fix" if fixable else f"install the torchaudio made for {build}"
            problems.append(Problem(what, mend, fixable, tuple(map(str, compiled)) if fixable else ()))
        else:
            problems.append(Problem(what, "pip uninstall torchcodec (it is not needed here), or install its CPU build"))
    return problems


def _add_devices(report: Report) -> None:
    """Processors, their bfloat16 instructions, and the GPUs that torch sees."""
    report.devices.append(f"{os.cpu_count()} CPU threads")
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    fast = [flag for flag in BF16_FLAGS if flag in flags]
    report.devices.append(f"bfloat16 on the CPU: {', '.join(fast) if fast else 'no fast instructions'}")
    if report.versions["torch"] is None:
        report.problems.append(Problem("torch is not installed", "pip install torch"))
        return
    try:
        import torch
    except Exception as error:  # a broken build raises OSError, ImportError or RuntimeError: the report has to go on
        report.problems.append(Problem(f"torch can't be imported: {_one_line(error)}", "install torch again"))
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        report.devices.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.device_count():
        report.devices.append("no CUDA GPU that torch sees")


def _add_decoders(report: Report) -> None:
    """Write a tone in every format and read it back with what reads it here."""
    for suffix in FORMATS:
        try:
            report.decoders[suffix] = _decode_a_tone(suffix)
        except Exception as error:  # whatever a broken library raises is the finding
            report.decoders[suffix] = None
            problem = Problem(
                f"{suffix} can't be decoded: {_one_line(error)}", "pip install --force-reinstall soundfile av"
            )
            report.problems.append(problem)


def _decode_a_tone(suffix: str) -> str:
    """Make a 500 Hz tone in a format and decode it as `read_audio` does; the name of the library that did."""
    import numpy as np

    from .decoders import ALL, SoundFileDecoder, open_decoder

    tone = (0.5 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)).astype(np.float32)
    decoder = open_decoder(_m4a(tone) if suffix == "m4a" else _sound_file(tone, suffix), f"a tone in {suffix}")
    heard = np.concatenate(list(decoder.blocks(0, ALL)))[:, 0]
    decoder.close()
    spectrum = np.abs(np.fft.rfft(heard[4_000:12_000]))  # half a second: one bin is 2 Hz
    if np.argmax(spectrum) != 250:
        raise ValueError("the tone came back as something else")
    return "soundfile" if isinstance(decoder, SoundFileDecoder) else "PyAV"


def _sound_file(tone: "np.ndarray", suffix: str) -> io.BytesIO:
    """The tone as a file in memory, by soundfile."""
    import soundfile as sf

    file = io.BytesIO()
    sf.write(file, tone, 16_000, format=suffix.upper())
    return file


def _m4a(tone: "np.ndarray") -> io.BytesIO:
    """The tone as AAC in MP4 in memory, by PyAV."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        cut = av.AudioResampler(format="fltp", layout="mono", rate=16_000, frame_size=1024)
        for piece in [*cut.resample(frame), *cut.resample(None), None]:
            container.mux(stream.encode(piece))
    return file


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


if __name__ == "__main__":
    sys.exit(main())
