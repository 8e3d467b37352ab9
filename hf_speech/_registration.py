"""Makes the Auto classes of transformers know our models, without importing transformers.

Two modules of transformers hold the Auto classes, two of ours the classes to register. Whichever of such a pair is
loaded last, by whomever, the registration follows at once: the modules are watched on their way through the import
system. So `import hf_speech` stays light, and may come before or after transformers.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

_AUTO_CONFIG = "transformers.models.auto.configuration_auto"
_AUTO_MODEL = "transformers.models.auto.modeling_auto"
_OURS = {_AUTO_CONFIG: f"{__package__}.models.configuration", _AUTO_MODEL: f"{__package__}.models.modeling"}
_LAYERS = "transformers.modeling_layers"  # loads the Auto classes in its midst; ours need it whole
_MODELS = f"{__package__}.models."


def _register(auto: ModuleType, ours: ModuleType) -> None:
    if auto.__name__ == _AUTO_CONFIG:
        auto.AutoConfig.register(ours.HfSpeechConfig.model_type, ours.HfSpeechConfig, exist_ok=True)
        return
    classes = {
        auto.AutoModel: ours.HfSpeechModel,
        auto.AutoModelForAudioClassification: ours.HfSpeechForSequenceClassification,
        auto.AutoModelForAudioXVector: ours.HfSpeechForXVector,
    }
    for auto_class, model_class in classes.items():
        auto_class.register(ours.HfSpeechConfig, model_class, exist_ok=True)


def _register_what_is_loaded() -> None:
    if any(_is_loading(name) for name in list(sys.modules) if name == _LAYERS or name.startswith(_MODELS)):
        return  # its own loading ends here again
    for auto_name, our_name in _OURS.items():
        if not _is_loaded(auto_name):
            continue  # not yet wanted; or ours is on its way, and its own loading ends here again
        _register(sys.modules[auto_name], import_module(our_name))


def _is_loading(name: str) -> bool:
    return name in sys.modules and getattr(sys.modules[name].__spec__, "_initializing", False)


def _is_loaded(name: str) -> bool:
    return name in sys.modules and not _is_loading(name)


class _LoadThenRegister(importlib.abc.Loader):
    """A loader that does what the real one does, and then registers."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        spec._initializing = False  # type: ignore[attr-defined]  # complete, but for the import system's last steps
        _register_what_is_loaded()


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds the watched modules where the other finders find them, with a loader that registers."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in (*_OURS, _LAYERS) and not name.startswith(_MODELS):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _LoadThenRegister(spec.loader)
                return spec
        return None


def register_auto_classes() -> None:
    """Registers now what is loaded, and sees to the rest when it is loaded. Calling it again changes nothing."""
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())
    _register_what_is_loaded()
