"""Makes the Auto classes of transformers know our models, without importing transformers.

The two modules of transformers that hold the Auto classes are watched: if they are loaded already, our classes are
registered at once; else right after they have been loaded, whoever imports them.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def _register_config(module: ModuleType) -> None:
    from .models.configuration import HfSpeechConfig

    module.AutoConfig.register(HfSpeechConfig.model_type, HfSpeechConfig, exist_ok=True)


def _register_models(module: ModuleType) -> None:
    from .models.modeling import HfSpeechConfig, HfSpeechForSequenceClassification, HfSpeechModel

    module.AutoModel.register(HfSpeechConfig, HfSpeechModel, exist_ok=True)
    module.AutoModelForAudioClassification.register(HfSpeechConfig, HfSpeechForSequenceClassification, exist_ok=True)


# Where transformers keeps its Auto classes -> what to do once that module is loaded.
_REGISTRATIONS: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_models,
}


class _LoadThenRegister(importlib.abc.Loader):
    """A loader that does what the real one does, and then registers."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _REGISTRATIONS[module.__name__](module)


class _AutoClassFinder(importlib.abc.MetaPathFinder):
    """Finds the watched modules where the other finders find them, with a loader that registers."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _REGISTRATIONS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _LoadThenRegister(spec.loader)
                return spec
        return None


def register_auto_classes() -> None:
    """Registers now what is loaded, and sees to the rest when it is loaded. Calling it again changes nothing."""
    for name, register in _REGISTRATIONS.items():
        if name in sys.modules:
            register(sys.modules[name])
    if not any(isinstance(finder, _AutoClassFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoClassFinder())
