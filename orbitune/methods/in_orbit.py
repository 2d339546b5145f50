"""The collaborative method with its encoder in orbit: no byte of training needs the ground.

`compute_satellite`: one satellite of each plane runs the encoder for its plane. `plane_pipeline`: the encoder's blocks
are spread over neighbouring satellites of the plane, and micro-batches flow through them (`in_orbit_hosts`). What is
learned is what the encoder on the ground learns: with `server_encoder = "shared"` gradients are averaged over all
planes at every optimiser step, with "per_client" each satellite has a copy on its host, averaged once a round.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitune.errors import PlanError
from orbitune.methods.base import Cut, Job, Method, Round, average, deployed, everyone, fetch, spread
from orbitune.methods.exchange import Exchange, exchanges_of, last_update, last_version
from orbitune.methods.in_orbit_average import average_encoder
from orbitune.methods.in_orbit_deploy import bring_stages, collect_stages, share_stages
from orbitune.methods.in_orbit_exchange import OrbitExchange
from orbitune.methods.in_orbit_hosts import Placement, place
from orbitune.methods.in_orbit_needs import orbit_needs
from orbitune.methods.in_orbit_tensors import Sizes
from orbitune.timeline.bounds import Need
from orbitune.timeline.simulate import Schedule

PLACEMENTS = ("compute_satellite", "plane_pipeline")


def placed(method: Method, job: Job, hosts: int = 0) -> Method:
    """The method that plans this job's placement: itself with the encoder on the ground.

    Args:
        method: What was asked for; only the collaborative method has an encoder to place.
        job: `job.placement` says where.
        hosts: Stages of a `plane_pipeline`, 0 for as many as there can be.
    """
    return InOrbit(hosts=hosts) if method.name == "collaborative" and job.placement in PLACEMENTS else method


@dataclass(frozen=True)
class InOrbit:
    """Split training inside each plane; `hosts` in a pipeline, 0 for as many as there can be."""

    name: str = "collaborative"
    learner: str = "split"
    private: tuple[str, ...] = ("image", "label")
    hosts: int = 0

    def prepare(self, job: Job) -> Job:
        """Nothing is fixed.

        Raises:
            PlanError: Satellites may not talk to their neighbours, or are to be cut at different blocks, or are drawn.
        """
        if not job.has_rings and job.system.nodes.num_satellites > 1:
            raise PlanError(
                f'method.placement = "{job.placement}" brings embeddings around the ring of each plane, and '
                f'method.intra_orbit = "none" leaves every satellite alone; use "relay", "ring" or "bidirectional"'
            )
        if job.satellite_cuts:
            raise PlanError(
                f'method.placement = "{job.placement}" puts the encoder behind one cut, and satellites are cut after '
                f"blocks {sorted(set(job.satellite_cuts))}; leave the cut of each satellite to method.placement = "
                f'"ground"'
            )
        if job.update_codec != "fp32":
            raise PlanError(
                f'method.placement = "{job.placement}" sums up updates between satellites, and method.update_codec = '
                f'"{job.update_codec}" is summed up on the ground; use "fp32", or method.placement = "ground"'
            )
        if job.taking_part:
            raise PlanError(
                f'method.placement = "{job.placement}" trains with the satellites of every plane in each round; with '
                f'train.satellites_per_round use method.placement = "ground", or 0 for all'
            )
        return job

    def placement(self, job: Job) -> Placement:
        """Who hosts what."""
        return place(job, 1 if job.placement == "compute_satellite" else self.hosts)

    def deploy(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Bring embedding and head to every satellite and its blocks to every host, unless they flew with it.

        An encoder that stays as it is and is wanted on all satellites in the end goes to all of them at once.
        """
        sizes = self._sizes(job)
        if job.preloaded or (job.deliver_to == "satellites" and not sizes.trained_bytes):
            return spread(job, schedule, deployed(job, job.partition.parts), "deploy weights", start_s)
        now = spread(job, schedule, deployed(job, job.partition.front), "deploy weights", start_s)
        return bring_stages(sizes, schedule, now)

    def round(self, job: Job, schedule: Schedule, index: int, start_s: float) -> float:
        """One round, stage after stage."""
        return self._round(job, schedule, index, start_s, 0)

    def streamed(self, job: Job, schedule: Schedule, cut: Cut) -> Round:
        """The same rounds; inside an exchange nothing waits for a stage, unless it works with cached data."""
        parts = cut.parts if job.cache == "none" else 0
        return lambda index, start_s: self._round(job, schedule, index, start_s, parts)

    def _round(self, job: Job, schedule: Schedule, index: int, start_s: float, parts: int) -> float:
        """Exchanges and averages; with micro-batches in `parts` of a batch, streamed."""
        sizes, now = self._sizes(job), start_s
        for exchange in exchanges_of(job, index):
            flow = OrbitExchange(job, sizes.placement, exchange, schedule)
            now = flow.stream(parts, now) if parts else flow.run(now)
            if exchange.averaged:
                now = _average(sizes, schedule, exchange, now)
        return now

    def deliver(self, job: Job, schedule: Schedule, start_s: float) -> float:
        """Join encoder and head where they are wanted; several planes have averaged the encoder on all satellites."""
        sizes, version, planes = self._sizes(job), last_version(job), job.system.nodes.planes
        trained, everywhere = bool(sizes.trained_bytes), len(planes) > 1
        if job.deliver_to == "satellites":
            return share_stages(sizes, schedule, version, start_s) if trained and not everywhere else start_s
        now = fetch(job, schedule, last_update(job), "deliver weights", start_s)
        if trained and everywhere:
            return fetch(job, schedule, sizes.whole_model(everyone(job), version), "deliver encoder", now)
        return collect_stages(sizes, schedule, version, now) if trained else now

    def needs(self, job: Job, rounds: int) -> list[Need]:
        """The same steps without any schedule."""
        return orbit_needs(self._sizes(job), rounds)

    def _sizes(self, job: Job) -> Sizes:
        return Sizes(job, self.placement(job))


def _average(sizes: Sizes, schedule: Schedule, exchange: Exchange, start_s: float) -> float:
    """Heads and own blocks over all satellites, stages over all hosts."""
    job = sizes.job
    updates = {satellite: exchange.update(satellite) for satellite in job.system.nodes.satellites}
    now = average(job, schedule, updates, start_s)
    return average_encoder(sizes, schedule, exchange.version, now) if sizes.trained_bytes else now
