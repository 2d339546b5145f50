"""Images from any payload, learned from images that the attacker has: ridge regression, then a small network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Release = Callable[[Tensor], Tensor]
"""What arrives of a batch of tensors [n, ...]: coarse as the codec and with the noise of the wire, fresh each time."""

HIDDEN = 64
STEPS = 200
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
"""Size and training of the network; our choice: seconds for each payload on one core. To the linear map on Galileo
nano's embeddings it adds nothing in fp32, nor do 1000 steps, and 3 dB for "top50" and "top25" (measured)."""

CHECK_EVERY = 25
"""Steps between two looks at the images kept for checking; the weights that did best there are used."""

RIDGES = (1e-6, 1e-4, 1e-2, 1.0)
"""Ridge weights that are tried, as parts of the mean square of the inputs; our choice: from exact to strong."""

MOST_EXTRA_TOKENS = 8
"""Class and register tokens at most (DINOv2 with registers has 5, arXiv:2309.16588)."""

VECTOR_GRID = 4
"""Side of the grid that a vector is spread over before the convolutions."""


def token_grid(num_tokens: int, image_px: int) -> int:
    """Side s of the grid of places behind N tokens: the largest s that divides the image and leaves few extra tokens.

    Tokens are taken to be extra tokens, then one or more groups of s x s places, as Vision Transformers and Galileo
    order them. Another order makes only this attack weaker.
    """
    sides = [side for side in range(1, image_px + 1) if image_px % side == 0 and side**2 <= num_tokens]
    return max(side for side in sides if side == 1 or num_tokens % side**2 <= MOST_EXTRA_TOKENS)


def as_maps(payload: Tensor, image_px: int) -> Tensor:
    """A payload as maps [n, channels, s, s]: tokens [n, N, D] at their places, maps as they are, others as vectors."""
    if payload.dim() == 4:
        last = payload.shape[1] == payload.shape[2] != payload.shape[3]  # [n, h, w, D], as Swin has it
        return payload.permute(0, 3, 1, 2) if last else payload
    if payload.dim() != 3:
        return payload.flatten(1)[:, :, None, None]
    count, num_tokens, width = payload.shape
    side = token_grid(num_tokens, image_px)
    groups = num_tokens // side**2
    places = payload[:, num_tokens - groups * side**2 :].reshape(count, groups, side, side, width)
    return places.permute(0, 1, 4, 2, 3).reshape(count, groups * width, side, side)


class Patchwise(nn.Module):
    """The best linear map from what is known at a place to the pixels there, by ridge regression in closed form.

    Args:
        maps: Standardised [m, K, s, s].
        images: What they were made from, minus a mean image [m, C, P, P], P a multiple of s.
        ridge: Weight of the penalty, as part of the mean square of the inputs.
    """

    def __init__(self, maps: Tensor, images: Tensor, ridge: float) -> None:
        super().__init__()
        self.factor = images.shape[2] // maps.shape[2]
        inputs = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
        targets = F.pixel_unshuffle(images, self.factor).permute(0, 2, 3, 1).flatten(0, 2).double()
        square = inputs.T @ inputs
        square.diagonal().add_(ridge * len(inputs))
        weights = torch.linalg.solve(square, inputs.T @ targets)
        self.register_buffer("weights", weights.T[:, :, None, None].to(maps.dtype))

    weights: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [n, K, s, s] to images [n, C, P, P]."""
        return F.pixel_shuffle(F.conv2d(maps, self.weights), self.factor)


class Residual(nn.Module):
    """Two 3 x 3 convolutions, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape."""
        return maps + torch.as_tensor(self.layers(maps))


class Network(nn.Module):
    """What the linear map misses: 1 x 1 convolution to `HIDDEN` maps, two residual blocks, and pixels from each place.

    It starts at zero. A vector is first spread over a grid.
    """

    def __init__(self, channels: int, side: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        out, image_px = image_shape[0], image_shape[1]
        grid = side if side > 1 else max(s for s in range(1, VECTOR_GRID + 1) if image_px % s == 0)
        self.spread = nn.ConvTranspose2d(channels, HIDDEN, grid) if side == 1 else nn.Conv2d(channels, HIDDEN, 1)
        self.body = nn.Sequential(Residual(HIDDEN), Residual(HIDDEN), nn.GELU())
        self.pixels = nn.Conv2d(HIDDEN, out * (image_px // grid) ** 2, 1)
        self.factor = image_px // grid
        nn.init.zeros_(self.pixels.weight)
        nn.init.zeros_(torch.as_tensor(self.pixels.bias))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [n, K, s, s] to images [n, C, P, P]."""
        return F.pixel_shuffle(self.pixels(self.body(self.spread(maps))), self.factor)


@dataclass(frozen=True, eq=False)
class Decoder:
    """A trained attack: `reconstruct` maps what arrived to images."""

    centre: Tensor
    spread: Tensor
    mean_image: Tensor
    linear: nn.Module
    network: nn.Module

    @torch.no_grad()
    def reconstruct(self, payload: Tensor) -> Tensor:
        """Images [n, C, P, P] from payloads [n, ...]."""
        maps = self._standard(payload)
        return self.mean_image + torch.as_tensor(self.linear(maps) + self.network(maps))

    def _standard(self, payload: Tensor) -> Tensor:
        return (as_maps(payload, self.mean_image.shape[1]) - self.centre) / self.spread


def train_decoder(payloads: Tensor, images: Tensor, release: Release, seed: int, steps: int) -> Decoder:
    """Learn to see images in what crosses.

    Of the attacker's images four in five are learned from; the rest choose the ridge and the step to stop at.

    Args:
        payloads: What crosses before codec and noise [m >= 10, ...].
        images: What it was made from [m, C, P, P].
        release: Codec and noise.
        seed: Root for the first weights and the batches.
        steps: Training steps of the network; 0: the linear map alone.
    """
    kept = len(images) // 5
    check = release(payloads[:kept]), images[:kept]
    decoder = _fit_linear(release(payloads[kept:]), images[kept:], check, seed)
    _fit_network(decoder, payloads[kept:], images[kept:], check, release, seed, steps)
    return decoder


def _fit_linear(payloads: Tensor, images: Tensor, check: tuple[Tensor, Tensor], seed: int) -> Decoder:
    """The linear map with the best ridge, and a network that still adds nothing."""
    maps = as_maps(payloads, images.shape[2])
    centre = maps.mean(dim=0)
    spread = (maps - centre).square().mean(dim=(0, 2, 3)).sqrt()[:, None, None]
    spread = torch.where(spread > 0, spread, 1.0)
    mean_image = images.mean(dim=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(maps.shape[1], maps.shape[2], (images.shape[1], images.shape[2], images.shape[3]))
    network = network.to(images)
    standard, wanted = (maps - centre) / spread, images - mean_image
    fits = [Decoder(centre, spread, mean_image, Patchwise(standard, wanted, ridge), network) for ridge in RIDGES]
    return min(fits, key=lambda fit: float(F.mse_loss(fit.reconstruct(check[0]), check[1])))


def _fit_network(
    decoder: Decoder,
    payloads: Tensor,
    images: Tensor,
    check: tuple[Tensor, Tensor],
    release: Release,
    seed: int,
    steps: int,
) -> None:
    """Adam with a rate that falls to zero, on batches that cross afresh each time; keeps the best weights."""
    network, source = decoder.network, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(steps, 1))
    best = _checked(decoder, check)
    for step in range(1, steps + 1):
        ids = torch.randint(len(images), (BATCH_SIZE,), generator=source).to(images.device)
        maps = decoder._standard(release(payloads[ids]))
        wanted = images[ids] - decoder.mean_image - decoder.linear(maps)
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(network(maps), wanted))
        optimizer.step()
        schedule.step()
        if step % CHECK_EVERY == 0:
            best = min(best, _checked(decoder, check), key=lambda found: found[0])
    network.load_state_dict(best[1])


def _checked(decoder: Decoder, check: tuple[Tensor, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Error on the images kept for checking, and a copy of the network's weights."""
    error = float(F.mse_loss(decoder.reconstruct(check[0]), check[1]))
    return error, {name: value.clone() for name, value in decoder.network.state_dict().items()}
