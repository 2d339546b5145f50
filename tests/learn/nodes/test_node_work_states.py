"""What nodes receive matters, what is theirs stays theirs, and a stopped run goes on."""

from __future__ import annotations

import pytest
import torch
from node_worlds import World, final_weights, largest_difference, world

from orbitune.errors import InputError, RunError
from orbitune.learn.nodes.work import refuse
from orbitune.learn.spec import LearnSpec
from orbitune.timeline.activity import Activity, Payload
from tests.learn.tiny_backbone import spec_of

SHARED = ("collaborative", "train.trains=encoder", "train.momentum=0.9")
APART = ("collaborative", "train.trains=lora", "train.server_encoder=per_client", "train.server_optimizer=adam")
WHOLE = ("onboard", "train.trains=encoder", "train.server_optimizer=adam")
STAR = ("fedisl", "train.trains=full")
CENTRAL = ("download", "train.trains=encoder", "train.momentum=0.9")


def one_round(switches: tuple[str, ...], *more: str) -> World:
    return world(*switches, "train.rounds=1", *more)


@pytest.mark.parametrize("switches", [SHARED, WHOLE])
def test_satellites_work_with_the_weights_that_they_were_sent(switches: tuple[str, ...]) -> None:
    """A value changed on the way to one satellite shows in the end."""
    planned = one_round(switches)

    def tamper(activity: Activity, data: bytes) -> bytes:
        if activity.payload is None or activity.payload.kind != "weights" or activity.peer != 4:
            return data
        return torch.full((4,), 0.5).numpy().tobytes() + data[16:]

    touched, plain = (final_weights(run, [0]) for run in (planned.drive(tamper=tamper), planned.drive()))
    assert not torch.equal(touched["head.weight"], plain["head.weight"])


def test_who_was_sent_nothing_cannot_work() -> None:
    planned = one_round(WHOLE)
    work = planned.host([3])
    work.begin(0, (3,), tuple(planned.satellites))
    trains = next(one for one in planned.planned.timeline.activities if one.kind == "compute" and one.node == 3)
    without = Activity(**{**{n: getattr(trains, n) for n in trains.__slots__}, "needs": trains.needs[:2]})
    with pytest.raises(RunError, match="node 3 has no weights"):
        work.compute(3, without, lambda payload: b"")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_images_and_labels_have_no_way_out(kind: str) -> None:
    planned = one_round(SHARED)
    work = planned.host([3])
    with pytest.raises(RunError, match="never leaves its satellite"):
        work.initial(3, Payload(kind, frozenset({3}), 0, 0, 4))


def test_a_process_knows_nothing_of_other_satellites_samples() -> None:
    planned = one_round(SHARED)
    embed = next(one for one in planned.planned.timeline.activities if one.kind == "compute" and one.node == 4)
    with pytest.raises(RunError, match="satellite 4 has no images here"):
        planned.host([3]).compute(4, embed, lambda payload: b"")


@pytest.mark.parametrize("switches", [SHARED, APART, WHOLE, CENTRAL])
def test_a_run_stopped_after_a_round_goes_on(switches: tuple[str, ...]) -> None:
    """In new processes, from what the old ones saved, by a plan of the rest; one satellite from another's state."""
    whole = world(*switches)
    first, rest = one_round(switches), one_round(switches, "method.preloaded=true")
    hosts = first.hosts()
    first.drive(hosts)
    saved = {node: work.save(node) for node, work in hosts.items()}
    anew = rest.hosts()
    for node, work in anew.items():
        work.load(node, saved[5 if node == 2 else node])
        assert work.save(node) == saved[5 if node == 2 else node]
    nodes = [*rest.satellites, rest.server]
    found = final_weights(rest.drive(anew, first_round=1), nodes)
    assert largest_difference(found, final_weights(whole.drive(), nodes)) < 1e-6
    assert largest_difference(found, whole.reference(2)) < 1e-5


def test_the_server_sends_the_model_of_the_rounds_that_lie_behind() -> None:
    """Satellites of a star get the average at the next round: a plan of the rest deploys it."""
    first, whole = one_round(STAR), world(*STAR)
    hosts = first.hosts()
    first.drive(hosts)
    found = final_weights(first.drive(hosts, first_round=1), [first.server])
    assert largest_difference(found, whole.reference(2)) < 1e-5


def test_a_node_with_the_state_of_another_round_says_so() -> None:
    planned = one_round(SHARED, "method.preloaded=true")
    with pytest.raises(RunError, match="node 0 has the state after version 0, the program begins after 2"):
        planned.drive(planned.hosts(), first_round=1)


def test_a_damaged_state_is_refused() -> None:
    planned = one_round(SHARED)
    work = planned.host([3])
    with pytest.raises(InputError, match="state of node 3: damaged"):
        work.load(3, b"not a state")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of(learner="federated", merge="buffer"), "method = 'federated'"),
        (spec_of(learner="auxiliary", merge="buffer"), "method = 'auxiliary'"),
        (spec_of(cuts=(1,)), "method.placement = 'in orbit'"),
        (spec_of(update_codec="int8"), "method.update_codec = 'int8'"),
        (spec_of(noise_multiplier=0.5), "method.noise_multiplier = 0.5"),
    ],
)
def test_what_nodes_cannot_do_is_refused(spec: LearnSpec, message: str) -> None:
    with pytest.raises(RunError, match=f"{message} cannot be run on real nodes yet; allowed: "):
        refuse(spec)


def test_a_plan_for_another_model_is_refused() -> None:
    planned = one_round(SHARED)
    work = planned.host([planned.server])
    with pytest.raises(RunError, match="the plan has weights of 99999999 bytes, the model has"):
        work.initial(planned.server, Payload("weights", frozenset(), 0, 0, 99999999))
