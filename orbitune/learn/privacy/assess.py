"""How much of the private images and labels can be told from what crosses: attacks on every payload, measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from orbitune import seeds
from orbitune.learn.codec import Codec, Wire
from orbitune.learn.privacy.accounting import Promise
from orbitune.learn.privacy.decoder import STEPS, Release, train_decoder
from orbitune.learn.privacy.inversion import Front, best_steps, invert, is_affine
from orbitune.learn.privacy.labels import (
    classes_from_gradients,
    feature_gradients,
    label_accuracy,
    majority_accuracy,
    memberships_from_gradients,
)
from orbitune.learn.privacy.likeness import psnr_db, ssim
from orbitune.learn.privacy.noise import GaussianNoise

STEP_IMAGES = 32
"""Images on which the number of steps of the pseudo-inverse is chosen; our choice."""


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked, and what the attacker has.

    Attributes:
        pieces: Embedding, blocks and final in turn, all known to the attacker, each a map of batches.
        head: From features to logits; known to the attacker.
        private: Images that satellites hold, prepared for the model [n, C, P, P].
        labels: Theirs: classes [n], memberships [n, K]; of pixels [n, H, W] nothing is inferred.
        known: Other images of the same kind, which the ground owns [m >= 10, C, P, P].
        seed: Root of the streams of attacks and noise.
    """

    pieces: Sequence[Front]
    head: nn.Module
    private: Tensor
    labels: Tensor
    known: Tensor
    seed: int

    def front(self, cut: int, images: Tensor) -> Tensor:
        """On the satellite: images to what crosses after `cut` blocks."""
        return self._run(images, 0, 1 + cut)

    @torch.no_grad()
    def rest(self, cut: int, arrived: Tensor) -> Tensor:
        """On the server: what crossed to features."""
        return self._run(arrived, 1 + cut, len(self.pieces))

    def _run(self, value: Tensor, first: int, end: int) -> Tensor:
        for piece in self.pieces[first:end]:
            value = piece(value)
        return value


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one attack on one payload gives away. What does not apply is None.

    Attributes:
        cut: Blocks on board.
        codec: How tensors are written.
        payload: Payload kind.
        attack: "pseudo-inverse", "decoder" or "gradient".
        psnr_db, ssim: Mean over the private images of the likeness of the images found.
        label_accuracy: Share of labels found.
        baseline_psnr_db, baseline_ssim: Of the mean image of the ground, for every image.
        baseline_label_accuracy: Of always saying the most frequent label.
        noise_multiplier, noise_clip: Noise on this payload, 0 where there is none; clip is None then.
        epsilon_release, epsilon_run, delta: See `accounting.Promise`; None without noise.
    """

    cut: int
    codec: str
    payload: str
    attack: str
    psnr_db: float | None = None
    ssim: float | None = None
    label_accuracy: float | None = None
    baseline_psnr_db: float | None = None
    baseline_ssim: float | None = None
    baseline_label_accuracy: float | None = None
    noise_multiplier: float = 0.0
    noise_clip: float | None = None
    epsilon_release: float | None = None
    epsilon_run: float | None = None
    delta: float | None = None

    def row(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


Noised = tuple[GaussianNoise, Promise]
"""Noise on the wire, and what it promises."""


def assess(
    target: Target, cut: int, codecs: Sequence[str], noised: Noised | None, steps: int = STEPS
) -> Iterator[Exposure]:
    """Attack every payload of a cut under each codec; one exposure at a time, as they are found.

    The decoder learns from payloads that went through the same codec and noise, as an attacker's would.
    """
    for codec in codecs:
        yield from _Attacks(target, cut, codec, noised, steps).all()


class _Attacks:
    """All attacks on one cut and codec."""

    def __init__(self, target: Target, cut: int, codec: str, noised: Noised | None, steps: int) -> None:
        self.target = target
        self.cut = cut
        self.codec = codec
        self.noised = noised
        self.steps = steps
        seed = seeds.seed_for(target.seed, "privacy", cut, codec)
        noise = GaussianNoise(noised[0].multiplier, noised[0].clips, seed) if noised else None
        self.wire = Wire(Codec(codec), noise)
        self.scale = _Scale.of(target.known)

    def all(self) -> Iterator[Exposure]:
        """Images from embeddings and features, labels from gradients."""
        target, cross = self.target, self.wire.cross
        with torch.no_grad():
            private, known = (target.front(self.cut, images) for images in (target.private, target.known))
        arrived, learned = cross("embedding", private), cross("embedding", known)
        if is_affine(partial(target.front, self.cut), target.known[:STEP_IMAGES]):
            yield self._seen("embedding", "pseudo-inverse", self._inverted(arrived, learned))
        yield self._decoded("embedding", known, arrived)
        features = target.rest(self.cut, arrived)
        yield self._decoded("feature", target.rest(self.cut, learned), cross("feature", features))
        if isinstance(target.head, nn.Linear):
            yield self._labels(target.head, features)

    def _inverted(self, arrived: Tensor, learned: Tensor) -> Tensor:
        front, known, mean = partial(self.target.front, self.cut), self.target.known, self.target.known.mean(dim=0)
        steps = best_steps(front, learned[:STEP_IMAGES], known[:STEP_IMAGES], mean)
        return self.scale.shown(invert(front, arrived, mean, steps))

    def _decoded(self, kind: str, known: Tensor, arrived: Tensor) -> Exposure:
        """The decoder sees each known payload cross anew."""
        release: Release = partial(self.wire.cross, kind)
        seed = seeds.seed_for(self.target.seed, "privacy", "decoder", kind)
        decoder = train_decoder(known, self.scale.shown(self.target.known), release, seed, self.steps)
        return self._seen(kind, "decoder", decoder.reconstruct(arrived))

    def _seen(self, kind: str, attack: str, found: Tensor) -> Exposure:
        """How like the private images what was found is, and what the mean image would be."""
        truth = self.scale.shown(self.target.private)
        mean = self.scale.shown(self.target.known).mean(dim=0).expand_as(truth)
        found = found.clamp(0, 1)
        return Exposure(
            self.cut, self.codec, kind, attack, **self._noise_on("embedding"),
            psnr_db=float(psnr_db(found, truth).mean()), ssim=float(ssim(found, truth).mean()),
            baseline_psnr_db=float(psnr_db(mean, truth).mean()), baseline_ssim=float(ssim(mean, truth).mean()),
        )  # fmt: skip

    def _labels(self, head: nn.Linear, features: Tensor) -> Exposure:
        """Satellite: gradients of the features it got. Server: labels from them."""
        labels, kind = self.target.labels, "feature_gradient"
        with torch.no_grad():
            returned = self.wire.cross("feature", features)
        arrived = self.wire.cross(kind, feature_gradients(returned, labels, head))
        clip = self.noised[0].clips.get(kind) if self.noised else None
        with torch.no_grad():
            several = labels.is_floating_point()
            found = memberships_from_gradients(arrived, head) if several else classes_from_gradients(
                arrived, returned, head, clip
            )  # fmt: skip
        return Exposure(
            self.cut, self.codec, kind, "gradient", **self._noise_on(kind),
            label_accuracy=label_accuracy(found, labels), baseline_label_accuracy=majority_accuracy(labels),
        )  # fmt: skip

    def _noise_on(self, kind: str) -> dict[str, float]:
        """Features are worked out from embeddings and are as private as these."""
        if self.noised is None or kind not in self.noised[0].clips:
            return {}
        noise, promise = self.noised
        return {
            "noise_multiplier": noise.multiplier,
            "noise_clip": noise.clips[kind],
            "epsilon_release": promise.epsilon_release,
            "epsilon_run": promise.epsilon_run,
            "delta": promise.delta,
        }


@dataclass(frozen=True, slots=True)
class _Scale:
    """Channels stretched to 0 ... 1 between the least and the greatest value of known images; beyond, cut off."""

    low: Tensor
    range: Tensor

    @classmethod
    def of(cls, known: Tensor) -> _Scale:
        low, high = known.amin(dim=(0, 2, 3))[:, None, None], known.amax(dim=(0, 2, 3))[:, None, None]
        return cls(low, torch.where(high > low, high - low, 1.0))

    def shown(self, images: Tensor) -> Tensor:
        return ((images - self.low) / self.range).clamp(0, 1)


def conclusion(rows: Sequence[Exposure]) -> str:
    """One plain sentence for people, from the strongest attack of each kind."""
    said = ["Raw images and labels never leave their satellite."]
    seen = [row for row in rows if row.psnr_db is not None]
    if seen:
        best = max(seen, key=lambda row: row.ssim or 0.0)
        said.append(
            f"From the {best.payload} at cut {best.cut} ({best.codec}) the {best.attack} attack gives images back at "
            f"{best.psnr_db:.1f} dB PSNR and {best.ssim:.2f} SSIM; the mean image has {best.baseline_psnr_db:.1f} dB "
            f"and {best.baseline_ssim:.2f}."
        )
    told = [row for row in rows if row.label_accuracy is not None]
    if told:
        best = max(told, key=lambda row: row.label_accuracy or 0.0)
        said.append(
            f"Where feature gradients cross, they tell {best.label_accuracy:.0%} of the labels; always saying the most "
            f"frequent one is right for {best.baseline_label_accuracy:.0%}."
        )
    return " ".join(said)
