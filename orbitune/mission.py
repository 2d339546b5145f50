"""From a scenario to what planning and learning work with: the `Mission`, its `Job`, and what is learned how.

No torch is needed, except where a model without a profile has to be measured first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbitune.cost.system import System
from orbitune.errors import PlanError
from orbitune.imagery.batches import batch_size_of, draw, first_uses, taking_part
from orbitune.imagery.imagery import Holdings, Selection, holdings
from orbitune.learn.model_spec import ModelSpec
from orbitune.learn.spec import LearnSpec
from orbitune.methods import Job, Method, Ways
from orbitune.methods.asynchronous import contributions
from orbitune.methods.asynchronous_base import Asynchronous
from orbitune.methods.fedasync import FedAsync
from orbitune.methods.fedbuff import FedBuff
from orbitune.methods.fedleo import FedLEO
from orbitune.methods.fedspace import FedSpace
from orbitune.methods.in_orbit import InOrbit
from orbitune.model.partition import Partition
from orbitune.model.profile import ModelProfile
from orbitune.scenario import build, build_model
from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.schema import Scenario
from orbitune.timeline.activity import Timeline
from orbitune.timeline.participation import participation
from orbitune.training import Participation

Drawn = tuple[tuple[int, ...], ...]
"""The satellites drawn for each round."""

UNUSED_ALPHA = 1.0
"""Stands where samples are not dealt out by Dirichlet; nothing reads it then."""


@dataclass(frozen=True)
class Mission:
    """A scenario with its orbits, contacts, machines and image counts worked out.

    Attributes:
        left_out: A sentence for each element set of a file that could not be used.
        first_round: Rounds done before this mission begins; `scenario.train.rounds` are those still to come.
        ids: The satellites of the scenario that are left, in the order in which they are numbered here; () is all.
    """

    scenario: Scenario
    system: System
    partition: Partition
    holdings: Holdings
    left_out: tuple[str, ...] = ()
    first_round: int = 0
    ids: tuple[int, ...] = ()

    @property
    def satellites(self) -> tuple[int, ...]:
        """The scenario's number of each satellite."""
        return self.ids or tuple(self.system.nodes.satellites)


def prepare(scenario: Scenario) -> Mission:
    """Work out contacts, machines, the cut model and who holds how many images.

    Raises:
        PlanError, InputError: The scenario cannot be done, or a file it names is missing or damaged.
        MissingExtra: The model has no profile and what would measure it is not installed.
    """
    constellation = build.build_constellation(scenario)
    held = _holdings(scenario, len(constellation))
    system, partition = build.build_system(scenario, constellation), build_model.partition(scenario, held)
    return Mission(scenario, system, partition, held, constellation.left_out)


def profile_of(scenario: Scenario) -> ModelProfile:
    """What the scenario's model costs on its images.

    Raises:
        PlanError, InputError, MissingExtra: As `prepare`.
    """
    num_satellites = 1 if scenario.data.dataset != NO_DATASET else 0
    return build_model.partition(scenario, _holdings(scenario, num_satellites)).profile


def selection(scenario: Scenario) -> Selection:
    """Which images the scenario asks for, and how they are dealt out."""
    data = scenario.data
    assert data.assignment is not None, "the schema requires it wherever there is a data set"
    alpha = data.dirichlet_alpha if data.dirichlet_alpha is not None else UNUSED_ALPHA
    folder = None if data.folder is None else Path(data.folder)
    return Selection(data.dataset, data.assignment, alpha, data.chip_px or None, folder)


def _holdings(scenario: Scenario, num_satellites: int) -> Holdings:
    data = scenario.data
    if data.dataset != NO_DATASET:
        return holdings(selection(scenario), num_satellites, scenario.seed)
    assert data.samples_per_satellite is not None and data.num_classes is not None, "required without a data set"
    counts = (data.samples_per_satellite,) * num_satellites
    profile = build_model.profile_at_hand(scenario.model)
    return Holdings(counts, 0, tuple(map(str, range(data.num_classes))), profile.sample_bytes)


def model_spec(scenario: Scenario) -> ModelSpec:
    """Which model is trained, and where its weights come from."""
    return build_model.model_spec(scenario.model)


def job_of(mission: Mission) -> Job:
    """The job as the scenario words it; a method may still fix some of its switches."""
    train, method = mission.scenario.train, mission.scenario.method
    cuts = build.satellite_cuts(mission.scenario)
    return Job(
        system=mission.system,
        partition=mission.partition,
        trains=train.trains,
        server_encoder=train.server_encoder,
        rounds=train.rounds,
        local_steps=train.local_steps,
        samples=mission.holdings.num_train,
        batch=tuple(batch_size_of(count, train.batch_size) for count in mission.holdings.num_train),
        optimizer=train.optimizer,
        momentum=train.momentum,
        codec=method.codec,
        ways=Ways(method.intra_orbit, method.satellite_ground, method.inter_orbit, method.slot_s),
        preloaded=method.preloaded,
        deliver_to=method.deliver_to,
        overlap=method.overlap,
        label_bytes=mission.holdings.label_bytes,
        taking_part=_drawn(mission),
        staleness=train.staleness,
        quorum=train.quorum,
        cache=method.cache,
        first_uses=_first_uses(mission) if method.cache != "none" else (),
        lora_rank=train.lora_rank,
        satellite_cuts=tuple(cuts[satellite] for satellite in mission.satellites) if cuts else (),
        update_codec=method.update_codec,
        accumulate=train.accumulate,
        placement=method.placement,
    )


def configured(method: Method, scenario: Scenario) -> Method:
    """The method with the scenario's own numbers."""
    keys = scenario.method
    if isinstance(method, FedBuff):
        return replace(method, share=keys.fedbuff_share, max_staleness=keys.fedbuff_max_staleness)
    if isinstance(method, FedLEO):
        return replace(method, choice=keys.fedleo_sink, seed=scenario.seed)
    return replace(method, stretch_h=keys.fedspace_stretch_h) if isinstance(method, FedSpace) else method


def participation_of(method: Method, timeline: Timeline, num_satellites: int) -> Participation | None:
    """Who is counted in which average and what each started from, as learning replays it; None for everybody, fresh."""
    return contributions(timeline) if isinstance(method, Asynchronous) else participation(timeline, num_satellites)


def _first_uses(mission: Mission) -> tuple[tuple[int, ...], ...]:
    """For each batch still to come and each satellite, how many samples are used there for the first time."""
    train, seed, drawn = mission.scenario.train, mission.scenario.seed, _drawn(mission)
    per_round = train.local_steps * train.accumulate
    batches = (mission.first_round + train.rounds) * per_round
    done = np.arange(batches) < mission.first_round * per_round
    counts = []
    for number, (satellite, held) in enumerate(zip(mission.satellites, mission.holdings.num_train, strict=True)):
        if drawn or mission.first_round:
            own = _own_batches(drawn, number, batches, train.rounds) if drawn else ~done
            new = _new_samples(held, train.batch_size, own, seed, satellite)[mission.first_round * per_round :]
        else:
            new = first_uses(held, train.batch_size, batches, seed, satellite)
        counts.append(new)
    return tuple(map(tuple, np.stack(counts, axis=1).tolist()))


def _own_batches(drawn: Drawn, satellite: int, batches: int, rounds: int) -> NDArray[np.bool_]:
    """Which batches of the run belong to rounds for which the satellite was drawn."""
    return np.repeat([satellite in members for members in drawn], batches // rounds)


def _new_samples(held: int, batch_size: int, own: NDArray[np.bool_], seed: int, satellite: int) -> NDArray[np.int64]:
    """How many samples of each batch the satellite has not used before, where it sits some rounds out."""
    used: set[int] = set()
    counts = np.zeros(len(own), dtype=np.int64)
    for number in np.flatnonzero(own):
        batch = set(draw(np.arange(held), batch_size, int(number), seed, satellite).tolist())
        counts[number] = len(batch - used)
        used |= batch
    return counts


def _drawn(mission: Mission) -> Drawn:
    """The satellites drawn for each round; empty where everybody takes part."""
    train, satellites = mission.scenario.train, mission.system.nodes.num_satellites
    if not 0 < train.satellites_per_round < satellites:
        return ()
    return tuple(_draw_round(mission, index) for index in range(train.rounds))


def _draw_round(mission: Mission, index: int) -> tuple[int, ...]:
    """Satellites of two planes at least: what one plane brings down alone is an average already, and the stations that
    passed it on would be sent the same bytes once more.

    Raises:
        PlanError: Fewer than two are to be drawn from several planes.
    """
    per_round, nodes = mission.scenario.train.satellites_per_round, mission.system.nodes
    if len(nodes.planes) == 1:
        return taking_part(nodes.num_satellites, per_round, index, mission.scenario.seed)
    if per_round < 2:
        raise PlanError(
            f"train.satellites_per_round = {per_round} of {len(nodes.planes)} planes: an average needs satellites of "
            "two planes; draw 2 or more, or 0 for all"
        )
    rounds = mission.scenario.train.rounds
    for attempt in count():
        drawn = taking_part(nodes.num_satellites, per_round, index + attempt * rounds, mission.scenario.seed)
        if len({nodes.plane_of[satellite] for satellite in drawn}) > 1:
            return drawn
    raise AssertionError("count never ends")


def learn_spec(scenario: Scenario, method: Method, job: Job) -> LearnSpec:
    """What a method trains and how, without a word of orbits."""
    place = method.placement(job).cuts(job) if isinstance(method, InOrbit) else ()
    train = scenario.train
    return LearnSpec(
        learner=method.learner,
        trains=job.trains,
        server_encoder=job.server_encoder,
        cut=job.partition.cut,
        codec=job.codec,
        local_steps=job.local_steps,
        batch_size=train.batch_size,
        optimizer=job.optimizer,
        learning_rate=train.learning_rate,
        head_rate_factor=train.head_rate_factor,
        momentum=job.momentum,
        weight_decay=train.weight_decay,
        seed=scenario.seed,
        cache=job.cache,
        cuts=place,
        satellite_cuts=job.satellite_cuts,
        update_codec=job.update_codec,
        lora_rank=job.lora_rank,
        lora_alpha=train.lora_alpha,
        accumulate=job.accumulate,
        schedule=train.schedule,
        warmup_steps=train.warmup_steps,
        rounds=train.rounds,
        prox_mu=train.prox_mu,
        server_optimizer=train.server_optimizer,
        server_rate=train.server_rate,
        precision=train.precision,
        noise_multiplier=scenario.method.noise_multiplier,
        merge=method.merge if isinstance(method, Asynchronous) else "mean",
        merge_rate=scenario.method.fedasync_rate if isinstance(method, FedAsync) else 1.0,
        staleness_weight=scenario.method.staleness_weight,
        noise_clip=scenario.method.noise_clip,
        noise_gradient_clip=scenario.method.noise_gradient_clip,
    )
