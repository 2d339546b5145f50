"""The trained attack finds what can be found, and no more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orbitune.learn.privacy.decoder import as_maps, token_grid, train_decoder
from orbitune.learn.privacy.likeness import psnr_db


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def mixed(seen: Tensor) -> Tensor:
    """Images to tokens [n, 4, 40]: an invertible linear map of each 4 x 4 patch."""
    matrix = torch.randn(32, 40, generator=torch.Generator().manual_seed(9))
    blocks = seen.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return blocks @ matrix


def same(payload: Tensor) -> Tensor:
    return payload


@pytest.mark.parametrize(
    ("num_tokens", "image_px", "side"),
    [(96, 32, 4), (197, 224, 14), (196, 224, 14), (257, 224, 16), (261, 224, 16), (50, 224, 7), (3136, 224, 56)],
)
def test_token_grids_of_known_models(num_tokens: int, image_px: int, side: int) -> None:
    """Galileo nano; ViT-B/16 with class token; MAE without; DINOv2 (with registers); ViT-B/32; Swin-T."""
    assert token_grid(num_tokens, image_px) == side


def test_maps() -> None:
    tokens = torch.arange(2 * 9 * 3).view(2, 9, 3).float()  # a class token, then two groups of 2 x 2 places
    maps = as_maps(tokens, 8)
    assert maps.shape == (2, 6, 2, 2)
    assert torch.equal(maps[1, :3, 1, 0], tokens[1, 3]) and torch.equal(maps[1, 3:, 0, 1], tokens[1, 6])
    assert as_maps(torch.zeros(2, 7), 8).shape == (2, 7, 1, 1)
    assert as_maps(torch.zeros(2, 16, 4, 4), 8).shape == (2, 16, 4, 4)
    assert as_maps(torch.zeros(2, 4, 4, 16), 8).shape == (2, 16, 4, 4)


def test_a_linear_map_is_undone() -> None:
    known, private = images(200, 1), images(20, 2)
    decoder = train_decoder(mixed(known), known, same, 3, steps=0)
    assert psnr_db(decoder.reconstruct(mixed(private)), private).min() > 60


def test_from_nothing_comes_the_mean_image() -> None:
    """Payloads that do not depend on the images: not better than the mean image, and no worse by more than 0.1 dB."""
    known, private = images(60, 1), images(20, 2)
    source = torch.Generator().manual_seed(4)
    decoder = train_decoder(torch.randn(60, 5, generator=source), known, same, seed=3, steps=25)
    found = psnr_db(decoder.reconstruct(torch.randn(20, 5, generator=source)), private).mean()
    mean = psnr_db(known.mean(dim=0).expand_as(private), private).mean()
    assert mean - 1.0 < found < mean + 0.5


def test_constant_payloads_do_no_harm() -> None:
    known = images(20, 1)
    decoder = train_decoder(torch.ones(20, 4, 3), known, same, seed=3, steps=25)
    assert decoder.reconstruct(torch.ones(5, 4, 3)).isfinite().all()


def test_the_network_finds_what_a_linear_map_cannot() -> None:
    """Magnitude and sign of each pixel's deviation from grey, given apart, have to be multiplied."""

    def bent(seen: Tensor) -> Tensor:
        deviations = torch.nn.functional.pixel_unshuffle(2 * seen - 1, 2)
        return torch.cat([deviations.abs(), deviations.sign()], dim=1)

    known, private = images(200, 1), images(20, 2)
    errors = []
    for steps in (0, 100):
        decoder = train_decoder(bent(known), known, same, 3, steps)
        errors.append(float((decoder.reconstruct(bent(private)) - private).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_the_same_seed_gives_the_same_attack() -> None:
    known = images(30, 1)
    one, other = (train_decoder(mixed(known).abs(), known, same, 3, 25).reconstruct(mixed(known)) for _ in range(2))
    assert torch.equal(one, other)
