"""Who sounds like whom? The page is hf_speech.demo's; which model it asks, README.md says."""

from hf_speech.demo import space

if __name__ == "__main__":
    space("speaker_map")
