"""The doctor on made-up installations of every kind, and on the real one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_speech import doctor

TORCH_VERSION = "__version__ = '2.13.0'\ncuda: Optional[str] = {cuda!r}\nhip: Optional[str] = {hip!r}\n"
TO_CUDA = b"\x7fELF" + b"\0libc10.so\0libcudart.so.13\0libc10_cuda.so\0libtorch_cuda.so\0libc.so.6\0"
TO_CPU = b"\x7fELF" + b"\0libc10.so\0libtorch_cpu.so\0libc.so.6\0"
COMPILED = ("_torchaudio.abi3.so", "libtorchaudio.abi3.so", "torchaudio_prefixctc.abi3.so")


def install(site: Path, name: str, version: str) -> Path:
    """A package with metadata and an empty __init__.py."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    metadata = site / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    return site / name


def installation(site: Path, *, cuda: str | None = None, hip: str | None = None, linked: bytes = TO_CUDA) -> Path:
    """torch and torchaudio; returns the folder of torchaudio's compiled files."""
    (install(site, "torch", "2.13.0") / "version.py").write_text(TORCH_VERSION.format(cuda=cuda, hip=hip))
    lib = install(site, "torchaudio", "2.11.0") / "lib"
    lib.mkdir()
    (lib / "__init__.py").touch()
    for name in COMPILED:
        (lib / name).write_bytes(linked)
    return lib


def test_the_broken_pair_is_found_mended_and_stays_mended(tmp_path, capsys):
    lib = installation(tmp_path)
    report = doctor.diagnose(tmp_path)
    assert (report.torch_build, report.versions["torchaudio"], report.versions["peft"]) == ("CPU", "2.11.0", None)
    (problem,) = report.problems
    assert "libc10_cuda.so, libcudart.so.13, libtorch_cuda.so" in problem.what
    assert problem.fixable and sorted(Path(name).name for name in problem.files) == sorted(COMPILED)

    assert doctor.main(["--site", str(tmp_path)]) == 2
    assert "mend: hf-speech doctor --fix" in capsys.readouterr().out
    assert sorted(path.name for path in lib.glob("*.so")) == sorted(COMPILED)  # a look changes nothing
    assert doctor.main(["--site", str(tmp_path), "--fix"]) == 0
    assert capsys.readouterr().out.count("removed") == 3
    assert [path.name for path in lib.iterdir()] == ["__init__.py"]
    assert doctor.main(["--site", str(tmp_path), "--fix"]) == 0
    assert "nothing to mend" in capsys.readouterr().out
    assert [line.split(":")[0] for line in doctor.fix(report)] == ["already gone"] * 3


@pytest.mark.parametrize("build", [{"cuda": "13.0"}, {"hip": "7.1"}])
def test_a_gpu_build_is_left_alone(tmp_path, build):
    lib = installation(tmp_path, **build)
    report = doctor.diagnose(tmp_path)
    assert report.torch_build == ("CUDA 13.0" if "cuda" in build else "ROCm 7.1")
    (said,) = doctor.fix(report)
    assert report.torch_build in said and "nothing removed" in said
    assert len(list(lib.glob("*.so"))) == 3
    # CUDA libraries beside ROCm can't be loaded either, but there the compiled files are the user's to replace.
    assert [problem.fixable for problem in report.problems] == ([] if "cuda" in build else [False])


def test_a_cpu_torchaudio_is_no_problem(tmp_path):
    lib = installation(tmp_path, linked=TO_CPU)
    report = doctor.diagnose(tmp_path)
    assert report.problems == []
    assert doctor.fix(report) == ["nothing to mend by removing files"]
    assert len(list(lib.glob("*.so"))) == 3


def test_a_cuda_torchcodec_is_named_but_not_touched(tmp_path):
    installation(tmp_path, linked=TO_CPU)
    library = install(tmp_path, "torchcodec", "0.17.0") / "libtorchcodec_core6.so"
    library.write_bytes(TO_CUDA)
    assert doctor.main(["--site", str(tmp_path), "--fix"]) == 2
    (problem,) = doctor.diagnose(tmp_path).problems
    assert problem.what.startswith("torchcodec is linked to CUDA") and "pip uninstall torchcodec" in problem.mend
    assert library.exists()


def test_no_torch_at_all(tmp_path):
    install(tmp_path, "torchaudio", "2.11.0")
    report = doctor.diagnose(tmp_path)
    assert report.torch_build is None and report.problems == []
    assert "torch            — not installed" in doctor.render(report)


def test_the_real_installation_works_and_nothing_heavy_is_imported_to_say_so():
    code = (
        "import sys; from hf_speech import doctor; status = doctor.main(['--json']); "
        "print({'transformers', 'torchaudio', 'datasets'} & set(sys.modules), status, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert done.stderr.strip().splitlines()[-1] == "set() 0"
    assert report["problems"] == [] and report["fixed"] == []
    assert report["versions"]["torch"] and report["versions"]["transformers"]
    assert report["decoders"] == {
        "wav": "soundfile",
        "flac": "soundfile",
        "ogg": "soundfile",
        "mp3": "soundfile",
        "m4a": "PyAV",
    }
