"""CLIP and its kin as the Hugging Face hub holds them: `hf:NAME` or `hf:FOLDER` of an image-text model.

The network for pictures is the source. The one for texts turns class names into a classifier, without a label.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from headstart import profile
from headstart.errors import Problem, SourceError
from headstart.source.card import Preprocessing, SourceCard, Tokens
from headstart.source.checkpoint import Pretrained, licence_in, need_transformers, read_json

if TYPE_CHECKING:
    from torch import nn

KINDS = ("clip", "siglip")
"""As `config.json` calls them."""

_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_MOST = 100.0  # CLIP was trained with its scale held below this


class _Clip(Pretrained):
    @property
    def _projection(self) -> int:
        return int(self.config.projection_dim) if self.config.model_type == "clip" else 0

    def _card(self, config: Any, **more: Any) -> SourceCard:
        from headstart.source import towers

        return SourceCard(
            name=f"hf:{self.name}",
            architecture=towers.name_of(config, self._projection),
            pretraining=f"{self.config.model_type}, pictures with texts, as {self.folder.name} says",
            licence=licence_in(self.folder),
            origin=self.origin,
            bytes=self.bytes,
            **more,
        )


class ClipSource(_Clip):
    """The network for pictures of an image-text model, as deep as their common space.

    Args:
        name: a folder that transformers saved, or a name on the hub such as `openai/clip-vit-base-patch32`.
    """

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card, from its files and from the network without weights.

        Raises:
            SourceError: transformers is not installed; or it is no source, and why.
        """
        need_transformers(self.name)
        with profile.phase("import"):
            from headstart.source import architecture, towers

        how = self._preprocessing()
        name = towers.name_of(self.config.vision_config, self._projection)
        parameters, features, flops = architecture.measure(name, how.size)
        return self._card(
            self.config.vision_config,
            modality="image",
            preprocessing=how,
            parameters=parameters,
            features=features,
            flops=flops,
            stages=architecture.stages(name, how.size),
            attention=True,
            reads=True,
        )

    def _preprocessing(self) -> Preprocessing:
        """As `preprocessor_config.json` says, or the `image_processor` of `processor_config.json`."""
        told = read_json(self.folder / "preprocessor_config.json")
        told = told or read_json(self.folder / "processor_config.json").get("image_processor", {})
        side = int(self.config.vision_config.image_size)
        size, crop = told.get("size", side), told.get("crop_size", side) if told.get("do_center_crop") else None
        number = told.get("resample", 3)
        shortest = size if isinstance(size, int) else size.get("shortest_edge", size.get("height"))
        crop = crop.get("height") if isinstance(crop, dict) else crop
        squash = isinstance(size, dict) and "shortest_edge" not in size
        problems = []
        if number not in _INTERPOLATIONS:
            problems.append(self._say(f"it resizes with filter {number}", f"one of {sorted(_INTERPOLATIONS)}"))
        if not all(told.get(step, True) for step in ("do_resize", "do_rescale", "do_normalize")):
            problems.append(self._say("its pictures are not resized, scaled and normalised", "all three"))
        if (crop or shortest) != side or (squash and size.get("height") != size.get("width")):
            problems.append(self._say(f"its pictures end at {crop or size} pixels", f"{side}, as its network wants"))
        if problems:
            raise SourceError(problems)
        mean, std = (tuple(map(float, told.get(key, (0.5,) * 3))) for key in ("image_mean", "image_std"))
        share = 1.0 if crop is None else crop / shortest
        return Preprocessing(side, share, _INTERPOLATIONS[number], mean, std, squash=squash)  # type: ignore[arg-type]

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained network for pictures, without a head.

        Raises:
            WeightsError: the weights lack something that the network needs; all of it is listed.
            SourceError: they cannot be read.
        """
        from headstart.source.towers import PictureTower

        model: Any = self.pretrained(self.config)
        return PictureTower(model.vision_model, model.visual_projection if self._projection else None)

    def texts(self) -> ClipTexts:
        """The network for texts."""
        return ClipTexts(self.name)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - a number
    def scale(self) -> float:
        """Its temperature, as it was trained; at most 100."""
        from headstart.source import weights
        from headstart.source.checkpoint import weights_in

        for path in weights_in(self.folder):
            if (found := weights.read(path).get("logit_scale")) is not None:
                return min(math.exp(float(found)), _MOST)
        raise SourceError(Problem(f"hf:{self.name}: no logit_scale in its weights", "a checkpoint of CLIP or SigLIP"))


class ClipTexts(_Clip):
    """The network for texts of an image-text model.

    Args:
        name: as of :class:`ClipSource`.
    """

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card."""
        from headstart.source import architecture, towers

        config = self.config.text_config
        network: Any = architecture.build(towers.name_of(config, self._projection))
        parameters = sum(p.numel() for p in network.parameters())
        return self._card(
            config,
            modality="text",
            preprocessing=Tokens(length=int(config.max_position_embeddings), shift=1),
            parameters=parameters,
            features=network.num_features,
            flops=2.0 * Tokens.TYPICAL * parameters,
        )

    def revision(self) -> str:
        """That of the checkpoint, which holds both networks."""
        return f"{super().revision()} texts"

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained network for texts.

        Raises:
            WeightsError: the weights lack something that the network needs; all of it is listed.
            SourceError: they cannot be read.
        """
        from headstart.source.towers import TextTower

        model: Any = self.pretrained(self.config)
        return TextTower(model.text_model, model.text_projection if self._projection else None)
