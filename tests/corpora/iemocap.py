"""An evaluation file of IEMOCAP, and how it is spoilt."""

import re

HEAD = re.compile(rb"^\[[^\n]*\]\tSes03M_script01_1_F001\t(\w+)\t\[[^\n]*\]$", re.MULTILINE)


def block_head(text: bytes) -> tuple[bytes, int]:
    """The line that begins F001 of Ses03M_script01_1, and its number."""
    match = HEAD.search(text)
    assert match
    return match[0], text[: match.start()].count(b"\n") + 1


SPOILT = [
    # what is put in place of the head line, kind, lines after it, words of the message, utterances lost
    (lambda h: h.replace(h.split(b"\t")[2], b"joy"), "unknown label", 0, r"_F001 is 'joy'; write one of ang, dis", 1),
    (lambda h: h.replace(b"[", b"", 1), "malformed line", 0, "is no line of an evaluation", 1),
    (lambda h: h.replace(b" - ", b" "), "malformed line", 0, "not of the form .start - end.", 1),
    (lambda h: re.sub(rb"\[[^\[]*$", b"[1.0, 2.0]", h), "malformed line", 0, "not of the form", 1),
    (lambda h: re.sub(rb"\[[^\[]*$", b"[nan, 2.0, 1.0]", h), "malformed line", 0, "not of the form", 1),
    (lambda h: h.replace(b"Ses03M", b"Sess3M"), "malformed line", 0, "not of the form", 1),
    (lambda h: h.replace(b"_F001", b"_F000"), "duplicate id", 0, r"_F000 is in Ses03M_script01_1.txt, line 4, alr", 1),
    (lambda h: h.replace(b"_F001", b"_F777"), "missing file", 0, r"no sentences/wav/Ses03M_script01_1/.*_F777.wav", 1),
    (lambda h: h + b"\nC-E9:\tGlee;\t()", "unknown label", 1, "the vote 'Glee' is no emotion; they are anger", 0),
    (lambda h: h + b"\na remark", "malformed line", 1, "is no line of an evaluation", 0),
    (lambda h: h + b"\nC-E9", "malformed line", 1, "is not of the form C-E2", 0),
    (lambda h: h + b"\r", "Windows line ends", 0, "ends in CR LF", 0),
]
