"""Web pages to try a model: what a voice sounds like, whether two are one, who sounds like whom.

limits       how much a visitor may ask, in one place
door         who asks too much is refused before it waits
recordings   what was given -> a recording with speech in it, or a sentence that says why not
models       loaded once; tried again when they could not be
answers      a recording -> numbers for programs, and plain words for people
pictures     labels, waveforms, scores and maps as HTML that also reads well aloud
pages        the pages themselves, with Gradio
uploads      what visitors give goes when they do
serving      the server, of `hf-speech demo` and of a Space

It needs the extra `demo`: pip install 'hf_speech[demo]'.
"""

from .._lazy import lazy

_HOMES = {
    "Limits": "limits",
    "Models": "models",
    "PAGES": "pages",
    "build": "pages",
    "serve": "serving",
    "space": "serving",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy(__name__, _HOMES)
