"""The optimum of the GAN game, on densities known in closed form (Goodfellow et al. 2014, Prop. 1, Theorem 1)."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.losses import minimax_discriminator
from training.studies import equilibrium_page
from training.studies.mixtures import Mixture
from training.studies.stacked import StackedMLP, generators
from training.studies.study import Device, Outcome, Run, Study

SIZES = (64, 64)
SEEDS = (0, 1, 2)
BIMODAL = {"means": [[-2.0], [1.0]], "sd": 0.7, "weights": [0.3, 0.7]}
TRIMODAL = {"means": [[-3.0], [0.0], [3.0]], "sd": 0.6, "weights": [0.25, 0.5, 0.25]}
SQUARE = {"means": [[-1.5, -1.5], [-1.5, 1.5], [1.5, -1.5], [1.5, 1.5]], "sd": 0.7, "weights": [0.25] * 4}
DIAGONAL = {"means": [[-1.5, -1.5], [1.5, 1.5]], "sd": 0.7, "weights": [0.5, 0.5]}


def gaussian(mean: float) -> dict[str, Any]:
    return {"means": [[mean]], "sd": 1.0, "weights": [1.0]}


def one_lost(mixture: Mapping[str, Any]) -> dict[str, Any]:
    """The mixture without its last mode."""
    weights = mixture["weights"][:-1]
    return {
        "means": mixture["means"][:-1],
        "sd": mixture["sd"],
        "weights": [weight / sum(weights) for weight in weights],
    }


PAIRS: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "same-gaussian": ("N(0, 1), twice", gaussian(0), gaussian(0)),
    "same-bimodal": ("two modes, twice", BIMODAL, BIMODAL),
    "same-square": ("four modes in the plane, twice", SQUARE, SQUARE),
    "apart-0.5": ("N(0, 1), N(0.5, 1)", gaussian(0), gaussian(0.5)),
    "apart-1": ("N(0, 1), N(1, 1)", gaussian(0), gaussian(1)),
    "apart-2": ("N(0, 1), N(2, 1)", gaussian(0), gaussian(2)),
    "apart-3": ("N(0, 1), N(3, 1)", gaussian(0), gaussian(3)),
    "apart-4": ("N(0, 1), N(4, 1)", gaussian(0), gaussian(4)),
    "mode-lost": ("three modes, one of them lost", TRIMODAL, one_lost(TRIMODAL)),
    "modes-lost-plane": ("four modes in the plane, two of them lost", SQUARE, DIAGONAL),
}
"""Name -> what it is, p_data, p_gen."""


def plan(quick: bool) -> list[Run]:
    names = ("same-bimodal", "apart-2") if quick else tuple(PAIRS)
    return [
        Run(
            name,
            {
                "what": PAIRS[name][0],
                "p": PAIRS[name][1],
                "q": PAIRS[name][2],
                "hidden": SIZES,
                "steps": 300 if quick else 1500,
                "batch_samples": 1024 if quick else 2048,
                "lr": 5e-3,
            },
            SEEDS[:2] if quick else SEEDS,
        )
        for name in names
    ]


def mixture(config: Mapping[str, Any]) -> Mixture:
    return Mixture(tuple(tuple(mean) for mean in config["means"]), config["sd"], tuple(config["weights"]))


def execute(run: Run, device: Device) -> Outcome:
    config = run.config
    p, q = mixture(config["p"]), mixture(config["q"])
    logit, log = train(run, p, q, device)
    x, cell = quadrature_points(p, q)
    with torch.no_grad():
        h = logit(x.float().to(device).expand(len(run.seeds), *x.shape)).squeeze(-1).double().cpu()
    weight_p, weight_q = p.density(x) * cell, q.density(x) * cell
    optimum = weight_p / (weight_p + weight_q)
    D = torch.sigmoid(h)
    mean_error = ((D - optimum).abs() * (weight_p + weight_q) / 2).sum(1)
    results = {
        "jsd_nats": jsd_nats(weight_p, weight_q),
        "loss_d_nats": (-weight_p * logsigmoid(h) - weight_q * logsigmoid(-h)).sum(1).tolist(),
        "loss_g_nats": (weight_q * logsigmoid(-h)).sum(1).tolist(),
        "mean_abs_error_of_D": mean_error.tolist(),
        "mean_D": (D * (weight_p + weight_q) / 2).sum(1).tolist(),
    }
    if x.shape[1] > 1:
        return Outcome(results, log)
    arrays = {"x": x[:, 0], "p": p.density(x), "q": q.density(x), "optimum": optimum, "D": D}
    return Outcome(results, log, {name: values[..., ::8].float().numpy() for name, values in arrays.items()})


def train(run: Run, p: Mixture, q: Mixture, device: Device) -> tuple[StackedMLP, list[Mapping[str, Any]]]:
    """The averaged discriminators, one a seed, of samples of p (real) and q (fake) that are never seen twice."""
    config, sources = run.config, generators(run.seeds)
    network = StackedMLP((len(p.means[0]), *config["hidden"], 1), sources).to(device)
    average = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=config["lr"])
    steps, n = config["steps"], config["batch_samples"]
    log: list[Mapping[str, Any]] = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = config["lr"] * 0.5 * (1 + math.cos(math.pi * step / steps))
        x = torch.stack([torch.cat([p.sample(n, s), q.sample(n, s)]) for s in sources]).to(device)
        real, fake = network(x).squeeze(-1).chunk(2, dim=1)
        loss = minimax_discriminator(real, fake)
        optimizer.zero_grad()
        (len(sources) * loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # The mean of the second half of the run.
        weight = 1 / max(1, step - steps // 2)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), weight)
        if (step + 1) % max(1, steps // 10) == 0:
            log.append({"step": step + 1, "loss_d_nats": round(loss.item(), 5)})
    return average, log


def quadrature_points(p: Mixture, q: Mixture) -> tuple[Tensor, float]:
    """Points (N, D) of an even grid that reaches 8 sd beyond every mean, and the volume of its cells."""
    centres = torch.cat([p.centres, q.centres]).double()
    margin = 8 * max(p.sd, q.sd)
    low, high = centres.amin(0) - margin, centres.amax(0) + margin
    points = 4001 if centres.shape[1] == 1 else 401
    axes = [
        torch.linspace(float(a), float(b), points, dtype=torch.float64)
        for a, b in zip(low, high, strict=True)
    ]
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    return torch.cartesian_prod(*axes).reshape(-1, len(axes)), cell


def jsd_nats(p: Tensor, q: Tensor) -> float:
    """Jensen-Shannon divergence of two vectors of probabilities (Goodfellow et al. 2014, eq. 6), in [0, log 2]."""
    m = (p + q) / 2
    kl = torch.special.xlogy(p, p / m).sum() + torch.special.xlogy(q, q / m).sum()
    return float(kl / 2)


STUDY = Study(
    "equilibrium",
    "The equilibrium: D = 1/2 and 2 log 2",
    "For a fixed generator the best discriminator is D*(x) = p(x) / (p(x) + q(x)), and its loss "
    "L_D = -E_p log D - E_q log(1 - D) is 2 log 2 - 2 JSD(p, q). The game's optimum is p_gen = p_data, where D = 1/2, "
    "L_D = 2 log 2 and the minimax L_G = E_q log(1 - D) = -log 2 (Goodfellow et al. 2014, Prop. 1 and Theorem 1).",
    plan,
    execute,
    equilibrium_page.headline,
    equilibrium_page.page,
)
