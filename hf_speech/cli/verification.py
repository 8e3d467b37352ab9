"""`hf-speech verify`, `enroll`, `identify` and `compare`: whose voice is it?"""

import argparse
import json
from pathlib import Path

from ..errors import EXIT_OK, InputError
from ..flags import add_flags, given_flags
from ..verification.options import CalibrationOptions, EmbeddingOptions, ReportOptions, ScoringOptions, TrialOptions
from .parser import Commands, add_command

_PARTS = {
    "trials": (TrialOptions, "trials"),
    "embedding": (EmbeddingOptions, "embeddings"),
    "scoring": (ScoringOptions, "scoring"),
    "calibration": (CalibrationOptions, "calibration"),
    "report": (ReportOptions, "results"),
}


def add_verify(commands: Commands) -> None:
    """Puts `verify` into the parser."""
    verify = add_command(commands, "verify", _verify, "same speaker or not: two files, or a list with numbers",
                         "hf-speech verify my-model one.wav other.wav\n"
                         "hf-speech verify my-model trials.txt --audio-root wavs/ --output-dir verified\n"
                         "hf-speech verify my-model veri_test2.txt --audio-root voxceleb1/wav --output-dir vox1-o "
                         "--score-norm as-norm --cohort voxceleb/tiny_few\n"
                         "hf-speech verify my-model trials.txt --audio-root wavs/ --utterances wavs/metadata.csv "
                         "--calibrate cross --keep --output-dir verified\n"
                         "accelerate launch --num_processes 4 -m hf_speech.cli verify my-model trials.txt "
                         "--output-dir verified")  # fmt: skip
    verify.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    verify.add_argument(
        "what",
        metavar="TRIALS | A B",
        nargs="+",
        help="a list of trials, or two audio files (or folders with the recordings of one speaker)",
    )
    verify.add_argument("--output-dir", help="folder of scores, results.json and pictures of a list")
    for kind, title in _PARTS.values():
        add_flags(verify, kind, title)
    two = verify.add_argument_group("two files")
    two.add_argument("--prior", type=float, help="that it is one speaker, before listening (0.5)")
    two.add_argument("--threshold", help="which of the kept thresholds decides, such as eer or fmr_0.01")
    two.add_argument("--json", action="store_true", help="the answer as JSON")


def add_gallery(commands: Commands) -> None:
    """Puts `enroll` and `identify` into the parser."""
    enroll = add_command(commands, "enroll", _enroll, "learn a voice, for identify",
                         "hf-speech enroll my-model --name ada ada-1.wav ada-2.wav --gallery voices.safetensors\n"
                         "hf-speech enroll my-model --name ada --remove --gallery voices.safetensors")  # fmt: skip
    enroll.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    enroll.add_argument("files", metavar="FILE", nargs="*", help="recordings of the speaker, or folders of them")
    enroll.add_argument("--name", required=True, help="of the speaker")
    enroll.add_argument("--gallery", required=True, help="file of the known voices; it is made if need be")
    enroll.add_argument("--replace", action="store_true", help="forget earlier recordings of the speaker")
    enroll.add_argument("--remove", action="store_true", help="forget the speaker, or only the FILEs")
    enroll.add_argument("--json", action="store_true", help="the answer as JSON")
    identify = add_command(commands, "identify", _identify, "who speaks, of the voices that were enrolled, or unknown",
                           "hf-speech identify my-model who.wav --gallery voices.safetensors\n"
                           "hf-speech identify my-model who.wav --gallery voices.safetensors --top 3")  # fmt: skip
    identify.add_argument("model", metavar="MODEL", help="the model that enrolled them")
    identify.add_argument("file", metavar="FILE", help="a recording")
    identify.add_argument("--gallery", required=True, help="file of the known voices")
    identify.add_argument("--threshold", help="score from which on somebody is known, or the name of a kept threshold")
    identify.add_argument("--top", type=int, default=5, help="how many speakers are listed (%(default)s)")
    identify.add_argument("--json", action="store_true", help="the answer as JSON")


def add_compare(commands: Commands) -> None:
    """Puts `compare` into the parser."""
    compare = add_command(commands, "compare", _compare, "the difference of two runs on the same items",
                          "hf-speech compare verified-a verified-b\n"
                          "hf-speech compare evaluation-a evaluation-b --output-dir comparison")  # fmt: skip
    compare.add_argument("a", metavar="A", help="a folder that verify, evaluate or train has written")
    compare.add_argument("b", metavar="B", help="another one, on the same trials or utterances")
    compare.add_argument("--output-dir", help="folder of comparison.json; none: it is only printed")
    compare.add_argument("--seed", type=int, default=0, help="of the resamples (%(default)s)")


def _verify(options: argparse.Namespace, fields: list[str]) -> int:
    given = {part: given_flags(kind, options) for part, (kind, _) in _PARTS.items()}
    if len(options.what) == 2:
        stray = [name for part in given.values() for name in part] + (["output_dir"] if options.output_dir else [])
        if stray:
            raise InputError(
                f"--{stray[0].replace('_', '-')} belongs to a list of trials; for two files leave it out, for a list "
                "and its impostors give --impostors FILE"
            )
        from ..verification.everyday import verify_files

        prior = 0.5 if options.prior is None else options.prior
        answer = verify_files(options.model, *options.what, prior=prior, threshold=options.threshold)
        return _say(answer, options.json)
    if len(options.what) > 2:
        raise InputError(f"give one list of trials, or two audio files, not {len(options.what)} names")
    if options.output_dir is None:
        raise InputError("give --output-dir, a folder for the scores and results; or two audio files")
    if options.threshold is not None or options.json or options.prior is not None:
        raise InputError("--threshold, --prior and --json belong to two files; leave them out for a list")
    from ..ranks import first_speaks, leave_process_group
    from ..verification.report import told
    from ..verification.verify import VerifyOptions, verify

    chosen = VerifyOptions(**{part: kind(**given[part]) for part, (kind, _) in _PARTS.items()})
    try:
        with first_speaks():
            results = verify(options.model, options.what[0], options.output_dir, chosen)
    finally:
        leave_process_group()
    if results is not None:
        print(told(results, Path(options.output_dir)))
    return EXIT_OK


def _enroll(options: argparse.Namespace, fields: list[str]) -> int:
    from ..verification.everyday import enroll_files, remove_speaker

    if options.remove and options.replace:
        raise InputError("--remove forgets and --replace learns anew; give one of them")
    if options.remove:
        return _say(remove_speaker(options.name, options.gallery, options.files), options.json)
    if not options.files:
        raise InputError(f"give recordings of {options.name}, or --remove")
    answer = enroll_files(options.model, options.name, options.files, options.gallery, replace=options.replace)
    return _say(answer, options.json)


def _identify(options: argparse.Namespace, fields: list[str]) -> int:
    from ..verification.everyday import identify_file

    answer = identify_file(options.model, options.file, options.gallery, threshold=options.threshold, top=options.top)
    return _say(answer, options.json)


def _compare(options: argparse.Namespace, fields: list[str]) -> int:
    from ..verification.compare import compare, told, write

    found = compare(Path(options.a), Path(options.b), seed=options.seed)
    if options.output_dir is not None:
        write(found, Path(options.output_dir))
    print(told(found))
    return EXIT_OK


def _say(answer: tuple[object, list[str]], as_json: bool) -> int:
    fields, lines = answer
    print(json.dumps(fields, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))
    return EXIT_OK
