"""From a name in a config to a network that turns features into an embedding."""

from torch import nn

from steps.models.campplus import CamPlusPlus
from steps.models.config import ExtractorConfig
from steps.models.dvector import DVector
from steps.models.ecapa_tdnn import EcapaTdnn
from steps.models.resnet import ResNet
from steps.models.xvector import XVector


def build_extractor(config: ExtractorConfig, num_mel_bins: int) -> nn.Module:
    """The network that `config` names: features (N, T, F), lengths (N,) or None -> embeddings (N, E).

    Raises ValueError where the architecture cannot have `config.channels`.
    """

    def width(keyword: str) -> dict[str, int]:
        return {keyword: config.channels} if config.channels else {}  # the class knows the published one

    sizes = num_mel_bins, config.embedding_dim
    match config.architecture:
        case "dvector":
            return DVector(*sizes, last_frame=config.last_frame, **width("channels"))
        case "xvector":
            return XVector(*sizes, **width("channels"))
        case "ecapa_tdnn":
            return EcapaTdnn(*sizes, global_context=config.global_context, **width("channels"))
        case "campplus":
            return CamPlusPlus(*sizes, **width("growth"))
        case resnet:
            return ResNet(*sizes, depth=int(resnet.removeprefix("resnet")), **width("channels"))
