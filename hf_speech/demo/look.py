"""How the pages look: theme, style, and the few lines of script that mend what Gradio's own parts lack."""

from typing import Any

# What plain Gradio has of faults in contrast and names is mended here; tests/demo holds pages against axe-core.
CSS = """
.gradio-container {max-width: 760px !important; margin: 0 auto !important; --body-text-color-subdued: #52525b;
  --block-info-text-color: #52525b; --block-label-text-color: #3f3f46;
  --hs-strong: #b45309; --hs-track: #e4e4e7; --hs-soft: #fff7ed; --hs-edge: #fdba74;
  --hs-0: #b45309; --hs-1: #1d4ed8; --hs-2: #15803d; --hs-3: #a21caf; --hs-4: #0f766e; --hs-5: #be123c}
.dark .gradio-container, .dark.gradio-container {--body-text-color-subdued: #d4d4d8; --block-info-text-color: #d4d4d8;
  --block-label-text-color: #e4e4e7; --hs-strong: #fbbf24; --hs-track: #3f3f46; --hs-soft: #292018; --hs-edge: #92400e;
  --hs-0: #fbbf24; --hs-1: #93c5fd; --hs-2: #86efac; --hs-3: #f0abfc; --hs-4: #5eead4; --hs-5: #fda4af}
footer a, footer button {color: var(--body-text-color) !important; opacity: 1 !important}
footer .divider {display: none}
button[role=tab] {color: var(--body-text-color) !important}
.waveform-container ~ * time, time, .playback {color: var(--body-text-color-subdued) !important}
.playback {border-color: currentColor !important}
.controls button, .settings-wrapper button, .source-selection button:not(.selected) {
  color: var(--body-text-color-subdued) !important}
.file-preview a {color: var(--body-text-color) !important}
.source-selection button {width: 2rem !important; height: 2rem !important}
.hs-answer h2 {font-size: 1rem; margin: 1.2rem 0 .3rem}
.hs-headline {font-size: 1.6rem; font-weight: 700; line-height: 1.25; margin: 0 0 .6rem; overflow-wrap: anywhere}
.hs-notice {border: 1px solid var(--hs-edge); background: var(--hs-soft); color: var(--body-text-color);
  border-radius: 8px; padding: .8rem 1rem; overflow-wrap: anywhere}
.hs-words {margin: .5rem 0}
.hs-file {margin: .9rem 0 0; font-weight: 600; overflow-wrap: anywhere}
.hs-bars {margin: .5rem 0}
.hs-bar {display: grid; grid-template-columns: minmax(6rem, 30%) 1fr; gap: .6rem; align-items: center; margin: .3rem 0}
.hs-bar dt {overflow-wrap: anywhere}
.hs-bar dd {display: grid; grid-template-columns: 1fr 5.6rem; gap: .6rem; align-items: center; margin: 0;
  text-align: right}
.hs-track {background: var(--hs-track); border-radius: 5px; height: .8rem; overflow: hidden}
.hs-track span {display: block; height: 100%; background: var(--hs-strong); border-radius: 5px}
.hs-wave {margin: .4rem 0}
.hs-wave svg {width: 100%; height: 84px; fill: var(--hs-strong)}
.hs-ticks, .hs-ends {display: flex; justify-content: space-between; font-size: .8rem}
.hs-scale {margin: 1.2rem 0 .6rem}
.hs-line {position: relative; height: 14px; border-radius: 7px; background: var(--hs-track); margin: 6px 8px}
.hs-threshold {position: absolute; left: 50%; top: -5px; width: 2px; height: 24px; background: var(--body-text-color)}
.hs-score {position: absolute; top: -3px; width: 20px; height: 20px; margin-left: -10px; border-radius: 50%;
  background: var(--hs-strong); border: 2px solid var(--body-background-fill)}
.hs-map {position: relative; aspect-ratio: 4 / 3; border: 1px solid var(--border-color-primary); border-radius: 8px;
  margin: .6rem 0; padding: 0; list-style: none; overflow: hidden}
.hs-voice {position: absolute; transform: translate(-.75rem, -.75rem); display: flex; align-items: center; gap: .3rem;
  white-space: nowrap; font-size: .85rem}
.hs-voice b {display: inline-flex; width: 1.5rem; height: 1.5rem; align-items: center; justify-content: center;
  border-radius: 50%; border: 2px solid currentColor; flex: none; color: inherit !important}
.hs-voice span {max-width: 9rem; overflow: hidden; text-overflow: ellipsis; color: var(--body-text-color)}
.hs-left {flex-direction: row-reverse; transform: translate(calc(-100% + .75rem), -.75rem)}
.hs-voice-of {margin: .2rem 0; overflow-wrap: anywhere}
.hs-group-0 {color: var(--hs-0) !important}
.hs-group-1 {color: var(--hs-1) !important}
.hs-group-2 {color: var(--hs-2) !important}
.hs-group-3 {color: var(--hs-3) !important}
.hs-group-4 {color: var(--hs-4) !important}
.hs-group-5 {color: var(--hs-5) !important}
.hs-table {overflow-x: auto; contain: inline-size}
.hs-table caption {text-align: left; font-weight: 600; padding: .4rem 0}
.hs-table table {border-collapse: collapse; width: 100%; border: 0}
.hs-table th, .hs-table td {text-align: left; padding: .35rem .6rem; border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important}
.hs-table td {overflow-wrap: anywhere}
.hs-table td:nth-child(n+3) {white-space: nowrap}
@media (max-width: 480px) {
  button[role=tab] {padding: 0 8px !important; font-size: .9rem !important}
  .hs-headline {font-size: 1.35rem}
  .hs-voice span {position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)}
}
"""


def theme() -> Any:
    """The theme: the visitor's own fonts, so that a page asks nothing of other hosts; dark letters on the button."""
    import gradio as gr

    return gr.themes.Default(
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        text_size=gr.themes.sizes.text_lg,
    ).set(
        button_primary_background_fill="#9a3412",
        button_primary_background_fill_hover="#7c2d12",
        button_primary_background_fill_dark="#9a3412",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
