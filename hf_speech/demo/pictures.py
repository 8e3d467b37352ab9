"""What a page shows, as HTML and SVG that read well aloud, on a phone and in the dark; colours stand in look.py."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..audio import SAMPLE_RATE
from ..evidence import Evidence

BARS = 120  # of a waveform
_EVEN = 0.45  # half of the evidence in nearly half of the time says nothing of where it lies
GROUPS = 6  # colours of groups of voices; further ones begin anew
_HEIGHT, _WIDTH = 40.0, 4.0  # of half a waveform, and of one of its bars


def notice(message: str) -> str:
    """A sentence about what went wrong, which is read aloud at once."""
    return f'<div class="hs-notice" role="alert">{escape(message)}</div>'


def answer(headline: str, *parts: str) -> str:
    """An answer: its headline, which is read aloud at once, and what belongs to it."""
    first = f'<p class="hs-headline" role="status">{escape(headline)}</p>'
    return f'<div class="hs-answer">{first}{"".join(parts)}</div>'


def sentence(text: str, kind: str = "words") -> str:
    """A sentence in plain text."""
    return f'<p class="hs-{kind}">{escape(text)}</p>'


def heading(text: str) -> str:
    """The title of a part of an answer."""
    return f"<h2>{escape(text)}</h2>"


def bars(scores: Mapping[str, float], most: int = 8) -> str:
    """Labels with their percentages, the likeliest first.

    Args:
        scores: label -> share, 0 to 1.
        most: so many are shown; of the others it is told how many they are.
    """
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    rows = [
        f'<div class="hs-bar"><dt>{escape(label)}</dt><dd><span class="hs-track" aria-hidden="true"><span '
        f'style="width:{100 * share:.1f}%"></span></span><span>{percent(share)}</span></dd></div>'
        for label, share in ranked[:most]
    ]
    left = len(ranked) - most
    rest = f"<p>{left} further label{'s have' if left > 1 else ' has'} less than these.</p>" if left > 0 else ""
    return f'<dl class="hs-bars">{"".join(rows)}</dl>{rest}'


def waveform(samples: NDArray, evidence: Evidence | None = None) -> str:
    """The loudness of a recording over time; where a model says so, the more a moment counted, the stronger its colour.

    Args:
        samples: (T,) at 16,000 Hz.
        evidence: how much each moment counted.
    """
    seconds = len(samples) / SAMPLE_RATE
    edges = np.linspace(0, len(samples), BARS + 1).astype(int)
    peaks = np.array(
        [np.abs(samples[a : max(b, a + 1)]).max(initial=0.0) for a, b in zip(edges, edges[1:], strict=False)]
    )
    heights = np.maximum(peaks / max(peaks.max(), 1e-6) * _HEIGHT, 0.8)
    said = f"Loudness over {seconds:.1f} seconds."
    strength = np.full(BARS, 1.0)
    if evidence is not None:
        shares = evidence.shares(BARS)
        strength = 0.15 + 0.85 * shares / shares.max()
        said += f" {went_by(evidence)}"
    rects = "".join(
        f'<rect x="{_WIDTH * i:.0f}" y="{_HEIGHT - h:.1f}" width="{_WIDTH - 1:.0f}" height="{2 * h:.1f}" '
        f'opacity="{o:.2f}"/>'
        for i, (h, o) in enumerate(zip(heights, strength, strict=True))
    )
    ticks = "".join(f"<span>{seconds * share:.1f} s</span>" for share in (0, 0.25, 0.5, 0.75, 1))
    return (
        f'<figure class="hs-wave"><svg viewBox="0 0 {_WIDTH * BARS:.0f} {2 * _HEIGHT:.0f}" preserveAspectRatio="none" '
        f'role="img" aria-label="{said}">{rects}</svg><div class="hs-ticks" aria-hidden="true">{ticks}</div></figure>'
    )


def percent(share: float) -> str:
    """A share in percent; nothing is certain.

    >>> percent(0.456), percent(0.9999), percent(0.0001), percent(1.0), percent(0.0)
    ('46 %', 'over 99 %', 'under 1 %', 'over 99 %', 'under 1 %')
    """
    if share > 0.99:
        return "over 99 %"
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def went_by(evidence: Evidence) -> str:
    """A sentence about when a model listened hardest.

    >>> went_by(Evidence(np.arange(0.5, 4), np.array([0.1, 0.6, 0.2, 0.1]), 4.0))
    'Half of what it went by lies between 1.0 and 2.0 seconds.'
    >>> went_by(Evidence(np.arange(0.5, 4), np.full(4, 0.25), 4.0))
    'It went by all of the recording about equally.'
    """
    first, last = evidence.densest()
    if last - first > _EVEN * evidence.seconds:
        return "It went by all of the recording about equally."
    return f"Half of what it went by lies between {first:.1f} and {last:.1f} seconds."


def scale(score: float, threshold: float, margin: float) -> str:
    """A score beside the threshold from which on two voices are taken for one.

    Args:
        score: the higher, the likelier the same speaker.
        threshold: on the same scale.
        margin: how far above the threshold it is, as a log-likelihood ratio: 0 stands in the middle, and a factor of
            50 either way (4) near the ends.
    """
    place = 50 + 50 * np.tanh(margin / 4)
    said = f"Score {score:.2f}, {'above' if score >= threshold else 'below'} the threshold {threshold:.2f}."
    return (
        f'<div class="hs-scale" role="img" aria-label="{said}"><div class="hs-line">'
        f'<span class="hs-threshold"></span><span class="hs-score" style="left:{place:.1f}%"></span></div>'
        '<div class="hs-ends" aria-hidden="true"><span>two speakers</span>'
        f"<span>threshold {threshold:.2f}</span><span>same speaker</span></div></div>"
    )


def voice_map(points: ArrayLike, names: Sequence[str], groups: Sequence[int]) -> str:
    """Recordings in the plane, by number and name; those that are taken for one voice have a colour in common.

    Args:
        points: (N, 2).
        names: (N,).
        groups: (N,) numbers of voices from 0 on.
    """
    places = np.asarray(points, dtype=np.float64)
    centred = places - (places.max(axis=0) + places.min(axis=0)) / 2
    size = max(float(np.abs(centred).max()), 1e-9)
    marks = []
    for number, (place, name, group) in enumerate(zip(centred / size, names, groups, strict=True), start=1):
        left, top = 50 + 42 * place[0], 50 - 42 * place[1]
        side = " hs-left" if left > 60 else ""
        marks.append(
            f'<li class="hs-voice hs-group-{group % GROUPS}{side}" style="left:{left:.1f}%;top:{top:.1f}%">'
            f"<b>{number}</b> <span>{escape(name)}</span></li>"
        )
    return f'<ol class="hs-map" aria-label="Map of the recordings: near ones sound alike">{"".join(marks)}</ol>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table that scrolls by itself on a narrow screen, and can be reached by the keyboard."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="hs-table" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
