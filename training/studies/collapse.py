"""Mode collapse and its cures: rings and grids of Gaussians, and Stacked-MNIST."""

from typing import Any

from training.studies import collapse_digits, collapse_film, collapse_page, collapse_points
from training.studies.study import Device, Outcome, Run, Study

SEEDS = (0, 1, 2, 3, 4)
DIGIT_SEEDS = (0, 1, 2)

PLAIN: dict[str, Any] = {"loss": "nonsaturating", "coupling": "none", "pack": 1, "penalties": False}
METHODS: dict[str, dict[str, Any]] = {
    "relativistic-r1-r2": PLAIN | {"loss": "relativistic", "penalties": True},
    "minimax": PLAIN | {"loss": "minimax"},
    "nonsaturating": PLAIN,
    "minibatch-discrimination": PLAIN | {"coupling": "minibatch-discrimination"},
    "minibatch-stddev": PLAIN | {"coupling": "minibatch-stddev"},
    "packing": PLAIN | {"pack": 4},
    "r1-r2": PLAIN | {"penalties": True},
}
POINTS: dict[str, Any] = {
    "kind": "points",
    "latent_bits": 8,
    "latent_normals": 2,
    "normals_sd": 0.35,
    "hidden": [64, 64, 64],
    "gain": 2.0,
    "octaves": 6,
    "kernels": 4,
    "kernel_dim": 2,
    "batch_points": 128,
    "generator_steps": 1,
    "lr": [2e-3, 3e-3],
    "lr_floor": 0.2,
    "beta1": 0.0,
    "beta2": 0.99,
    "average_decay": 0.995,
}
DATA: dict[str, dict[str, Any]] = {
    "ring": {"data": "ring", "steps": 1500},
    "grid": {"data": "grid", "steps": 2500, "batch_points": 256, "lr_floor": 0.3, "average_decay": 0.998},
}
GAMMA = {"ring": [0.3, 1e-2], "grid": [0.3, 3e-3]}
"""First and last, of the methods with penalties."""
DIGITS: dict[str, Any] = {
    "kind": "digits",
    "latent_dim": 64,
    "generator_channels": [24, 12],
    "discriminator_channels": [12, 24, 24],
    "features": 64,
    "kernels": 16,
    "kernel_dim": 4,
    "batch_images": 64,
    "steps": 800,
    "samples": 4000,
    "lr": 2e-3,
    "beta1": 0.0,
    "beta2": 0.99,
    "gamma": [1.0, 0.1],
    "average_decay": 0.995,
}
FILM = {"kind": "film", "frames": 48, "lr_floor": 1.0}
HOPPING = {
    "steps": 240,
    "generator_steps": 8,
    "lr": [4e-4, 1e-3],
    "beta1": 0.5,
    "gain": 1.0,
    "octaves": 0,
    "latent_bits": 0,
    "normals_sd": 1.0,
}
"""Plain networks, and a generator that is ahead of its discriminator."""


def plan(quick: bool) -> list[Run]:
    return _quick_plan() if quick else _full_plan()


def points(data: str, method: str) -> dict[str, Any]:
    config = POINTS | DATA[data] | METHODS[method]
    return config | {"gamma": GAMMA[data]} if config["penalties"] else config


def films() -> dict[str, dict[str, Any]]:
    return {
        "film-minimax": points("ring", "minimax") | FILM | HOPPING,
        "film-relativistic-r1-r2": points("ring", "relativistic-r1-r2") | FILM | {"steps": 720},
    }


def _full_plan() -> list[Run]:
    runs: list[Run] = []
    for data in DATA:
        runs.append(Run(f"{data}-real", {"kind": "points-floor", "data": data}, SEEDS))
    for name in METHODS:
        for data in DATA:
            runs.append(Run(f"{data}-{name}", points(data, name), SEEDS))
    runs += [Run(name, config) for name, config in films().items()]
    for seed in DIGIT_SEEDS:
        floor = {"kind": "digits-floor", "samples": DIGITS["samples"]}
        runs.append(Run(f"digits-real-{seed}", floor, (seed,)))
        for name, method in METHODS.items():
            runs.append(Run(f"digits-{name}-{seed}", DIGITS | method, (seed,)))
    return runs


def _quick_plan() -> list[Run]:
    small = {"steps": 250, "hidden": [32, 32, 32]}
    short = {"steps": 20, "frames": 3}
    return [
        Run("ring-real", {"kind": "points-floor", "data": "ring"}, SEEDS[:2]),
        *(
            Run(f"ring-{name}", points("ring", name) | small, SEEDS[:2])
            for name in ("minimax", "relativistic-r1-r2")
        ),
        *(Run(name, config | short) for name, config in films().items()),
    ]


def execute(run: Run, device: Device) -> Outcome:
    kinds = {
        "points": collapse_points.execute,
        "points-floor": collapse_points.execute_floor,
        "film": collapse_film.execute,
        "digits": collapse_digits.execute,
        "digits-floor": collapse_digits.execute_floor,
    }
    return kinds[run.config["kind"]](run, device)


STUDY = Study(
    "collapse",
    "Mode collapse, and what prevents it",
    "Against a discriminator that judges samples one by one, a generator gains by putting all of them where the "
    "discriminator errs, and hops on when that is noticed. A discriminator that sees several samples at a time "
    "(Salimans et al. 2016; Karras et al. 2018; Lin et al. 2018) can notice that they are alike; a relativistic one "
    "with zero-centred penalties on both sides (Huang et al. 2024) makes the game converge.",
    plan,
    execute,
    collapse_page.headline,
    collapse_page.page,
)
