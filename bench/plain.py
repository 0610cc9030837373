"""Baseline: U-Net, classifier and Grad-CAM one after another, eager, as a user would write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch


def plain_way(
    *, encoder: str, num_classes: int = 3, device: str = "cpu"
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return a function from pictures (B, S, S) uint8 to mask, class probabilities and Grad-CAM.

    smp's U-Net with scse attention, then timm's classifier, then MONAI's GradCAM, which runs the classifier again and back.
    """
    import segmentation_models_pytorch as smp
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries tell each other
        from monai.visualize.class_activation_maps import GradCAM

        unet: torch.nn.Module = smp.Unet(
            encoder, encoder_weights=None, decoder_attention_type="scse", in_channels=1, classes=1
        ).eval()
        classifier = timm.create_model(encoder, pretrained=False, in_chans=1, num_classes=num_classes).eval()
        unet, classifier = unet.to(device), classifier.to(device)
        explain = GradCAM(nn_module=classifier, target_layers="layer4")

    def answer(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = torch.from_numpy(images).to(device)[:, None].float() / 255
        with torch.no_grad():
            mask = unet(x).sigmoid()
            probabilities = classifier(x).softmax(1)
        cam = explain(x)
        return mask.cpu().numpy(), probabilities.cpu().numpy(), torch.as_tensor(cam).cpu().numpy()

    return answer
