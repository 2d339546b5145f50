"""What a run's numbers rest on, in plain words: assumptions, and how each number was checked. Printed in the report."""

from __future__ import annotations

from orbitune.scenario.learning_keys import NO_DATASET
from orbitune.scenario.link_keys import Links
from orbitune.scenario.schema import Scenario
from orbitune.scenario.text import isl_rate_words, radio_words

CROSSINGS = {
    "none": "Nothing is cached between rounds: what crosses the cut crosses again each time.",
    "features": "Features are kept on board: a sample crosses the cut once, at its first use.",
    "embeddings": "Embeddings are kept where the encoder is: a sample's embedding crosses once, at its first use.",
}
"""What `method.cache` means for the bytes."""


def assumptions(scenario: Scenario) -> list[str]:
    """The assumptions that matter for this scenario, most important first."""
    links, satellite, method = scenario.links, scenario.satellite, scenario.method
    said = [
        _links(links),
        f"A satellite's computer sustains {satellite.sustained_gflops:g} GFLOP/s in training, the ground server "
        f"{scenario.server.sustained_gflops:g} GFLOP/s.",
        "Who wins depends on local steps per round (onboard averages once a round, a shared encoder exchanges at every "
        "step), on the rate between planes, over which whole models cross for onboard, and, for large models, on the "
        "computers. Vary them before drawing conclusions.",
        "A computation takes its FLOPs divided by that rate. The fixed cost of starting one (kernel launches, "
        "milliseconds on real hardware) is not counted, which flatters small models.",
        _averaging(scenario),
        "Stages follow one another: a stage starts when the slowest satellite has ended the one before. Overlapping "
        "them would be faster; the bound allows for it."
        if method.overlap == "none"
        else "Micro-batches flow through the stages (method.overlap = stream) wherever that ends earlier than stage "
        "after stage. It changes times alone: training uses the same samples in the same order.",
        "A round uses the same number of samples on every satellite in every method. " + CROSSINGS[method.cache],
        "Energy counts what the job adds on the satellites (computing, sending, receiving). "
        + (
            "Batteries limit it: work waits for charge, panels work in sunlight."
            if satellite.battery_wh
            else "No battery limits it (satellite.battery_wh = 0)."
        ),
        "The images are one data set dealt out to the satellites; orbits decide when they can talk, not what they have "
        "photographed."
        if scenario.data.dataset != NO_DATASET
        else "No images: sample counts and sizes are numbers of the scenario, and accuracy is not known.",
    ]
    if method.preloaded:
        said.append("The starting weights are on board already (method.preloaded = true).")
    if scenario.model.weights == "random":
        said.append("The model starts from random weights, not from the foundation model.")
    return said


def _links(links: Links) -> str:
    """What is taken for granted about links, and what is left out of their rates."""
    fixed = {links.downlink_rate_model, links.uplink_rate_model, links.isl_rate_model} == {"fixed"}
    how = "a fixed rate whenever the geometry allows them" if fixed else "what their budgets give, step by step"
    between = (
        ""
        if links.isl_inter_policy == "none"
        else f", {isl_rate_words(links, links.isl_inter_rate_mbps)} between planes"
    )
    left_out = "Fading and pointing" if links.weather == "itu" else "Weather, fading and pointing"
    return (
        f"Links carry {how}: {radio_words(links, 'downlink')} down, {radio_words(links, 'uplink')} up, "
        f"{isl_rate_words(links, links.isl_intra_rate_mbps)} inside a plane{between}. {left_out} are not modelled."
    )


def _averaging(scenario: Scenario) -> str:
    said = "Where satellites average weights, each takes its local steps with a fresh optimiser every round"
    if scenario.train.server_encoder == "shared" and scenario.train.trains != "head":
        return (
            f"{said} (onboard); with unequal data that costs accuracy. With a shared encoder every step uses the "
            "gradients of all satellites, as central training does. That much of the difference in accuracy comes "
            "from the way of averaging and not from where the model runs."
        )
    return f"{said}; with unequal data that costs accuracy."


def checks(scenario: Scenario) -> list[dict[str, str]]:
    """How each kind of number was checked."""
    said = [
        ("times and bytes", "From a schedule that an independent checker accepted: every transfer inside a contact and "
         "under its rate, no terminal or computer shared beyond its number, nothing sent before it is held, every byte "
         "delivered exactly once, images and labels never sent where the method promises so."),
        ("bound", "A lower bound worked out without looking at any schedule: no schedule of the same work on the same "
         "contacts, in which each plane brings down its own data, can end sooner, not even one that overlaps all."),
        ("contacts", "SGP4 orbits; the edges of passes agree with Skyfield's elevation to within 50 ms in our tests."),
    ]  # fmt: skip
    if scenario.data.dataset != NO_DATASET:
        said += [
            ("privacy", "Where a method promises that images and labels stay on board, a timeline in which they leave "
             "is refused. What does leave is not private by that alone: `orbitune privacy` reconstructs images and "
             "labels from it, for this model, cut and codec; with --into RUN the report says how well."),
            ("accuracy", "Real PyTorch gradients, exchanged across the cut in the order of the schedule, measured on "
             "images that no satellite holds. Split training equals ordinary training in our tests."),
        ]  # fmt: skip
    return [{"number": number, "how": how} for number, how in said]
