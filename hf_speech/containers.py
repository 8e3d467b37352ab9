"""What the bytes of a file of sound tell before anything is decoded: its container, and what is missing of it."""

from typing import BinaryIO

# Programs that write into a pipe put a number from here up where the length of the WAV data belongs.
WAV_UNKNOWN_LENGTH = 0x7FFFF000
SPHERE = b"NIST_1A\n"  # how a NIST SPHERE file begins


def is_mp4(file: BinaryIO) -> bool:
    """Whether a file begins as MP4 and its kin do, with a box of their brand."""
    file.seek(0)
    return file.read(8)[4:] == b"ftyp"


def find_shortfall(file: BinaryIO, size: int) -> str:
    """What a container's own sizes say is missing; "" where nothing is, or where it can't be told.

    Needed because libsndfile silently takes a cut WAV or Ogg file for a shorter one.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _wav_shortfall(file, size)
    if head[:4] == b"OggS":
        return _ogg_shortfall(file, size)
    if is_mp4(file):
        return _mp4_shortfall(file, size)
    if head.startswith(SPHERE):
        return _sphere_shortfall(file, size)
    return ""


def _wav_shortfall(file: BinaryIO, size: int) -> str:
    """Walk the chunks up to the data."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"data":
            there = size - at - 8
            if there < length < WAV_UNKNOWN_LENGTH:
                return f"its header says {length} bytes of sound, {there} are there"
            return ""
        at += 8 + length + length % 2
    return "its header ends before the sound begins"


def _ogg_shortfall(file: BinaryIO, size: int) -> str:
    """Look at the last page: it must be whole and marked as the last (RFC 3533, section 6)."""
    file.seek(max(0, size - (1 << 17)))  # a page has at most 65,307 bytes
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or not page[5] & 0x04:
        return "its last Ogg page is missing"
    segments = page[26]
    whole = 27 + segments + sum(page[27 : 27 + segments])
    return "its last Ogg page is cut" if len(page) < whole else ""


def _mp4_shortfall(file: BinaryIO, size: int) -> str:
    """Walk the outermost boxes (ISO/IEC 14496-12, section 4.2); a size of 0 means "to the end of the file"."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return ""
        if length < 8:
            return f"a box of {length} bytes at byte {at}"
        if at + length > size:
            return f"its box {header[4:8].decode('latin-1')!r} says {length} bytes, {size - at} are there"
        at += length
    return ""


def sphere_packing(file: BinaryIO) -> str:
    """How a NIST SPHERE file is compressed, such as "shorten"; "" where it is not, and for other files."""
    codings = _sphere_header(file).get("sample_coding", "").split(",")
    return next((coding.split("-")[1] for coding in codings if coding.startswith("embedded-")), "")


def _sphere_shortfall(file: BinaryIO, size: int) -> str:
    """Count the bytes behind the header, which says how many samples there are."""
    header = _sphere_header(file)
    try:
        at, samples, channels, width = (
            int(header[name]) for name in ("header", "sample_count", "channel_count", "sample_n_bytes")
        )
    except (KeyError, ValueError):
        return ""  # libsndfile decides whether it can do without
    wanted, there = samples * channels * width, max(0, size - at)
    return f"its header says {wanted} bytes of sound, {there} are there" if there < wanted else ""


def _sphere_header(file: BinaryIO) -> dict[str, str]:
    """The fields of a NIST SPHERE header, and "header", its size in bytes; none for other files.

    Text in lines `name -type value` up to `end_head`; the second line is the size, a multiple of 1,024.
    """
    file.seek(0)
    first = file.read(16)
    if not first.startswith(SPHERE) or not first[8:].strip().isdigit():
        return {}
    text = file.read(min(int(first[8:]), 1 << 20)).decode("latin-1").partition("end_head")[0]
    fields = (line.split(maxsplit=2) for line in text.splitlines())
    return {"header": first[8:].decode().strip()} | {field[0]: field[2].strip() for field in fields if len(field) == 3}
