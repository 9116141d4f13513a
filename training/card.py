"""The model card of a bundle: what it is, what it was made of, how well it does, how to make it again."""

from collections.abc import Mapping, Sequence

from training.config import Config, load_recipe
from training.errors import ConfigError
from training.evaluation import samples
from training.families.ae import AEConfig
from training.families.classifier import ClassifierConfig
from training.families.gan import GANConfig
from training.families.vae import VAEConfig
from training.onnx_graph import BATCHES
from training.report import Report
from training.run_dir import Provenance, Session
from training.run_time import ROWS, RunTime
from training.trained import Trained

GPU_HOUR_USD, CORE_HOUR_USD = 3.0, 0.05
"""Prices that cards reckon with, of an hour: of an H100, and of a core of a virtual machine."""

_FITTED_PRIOR = (
    "Afterwards a prior was fitted to the codes of its training images: `prior` turns N(0, I) into latents like "
    "theirs. Metrics that end in `_fitted_prior` are of samples made so."
)
_CORRECTION = (
    "Calibrated over all images together, a score may still be too high in one class and too low in another. So the "
    "served logit is the discriminator's less a number of the image's class, weighted by how probable each class is, "
    "as read linearly off the discriminator's features; those numbers make the mean of p_data / p_model over the "
    "samples of each class what it must be: its fraction of the data over its fraction of the samples, as "
    "`{classifier}` sees them. They were fitted on the half of test images and samples that the scalings are "
    "fitted on."
)
_CONDITIONAL = "What is drawn is of a class that `label` names."
_NEIGHBOURS = (
    "![samples and their nearest training images](neighbours.png)\n\n"
    "Is anything copied? Each sample is followed by the three training images that are nearest to it, pixel by pixel: "
    "on the left of the first eight samples, on the right of those eight of all {n:,} that are nearest to a training "
    "image, which are the likeliest copies."
)
_SMOOTH = (
    "What a decoder draws is a mean, and means are nearer to all images than images are to one another: `copies10k` "
    "may be above 0.001, which it is of test images, though nothing is copied."
)
_RELIABILITY = (
    "![reliability](reliability.png)\n\n"
    "Right probabilities lie on the diagonal. The scalings were fitted on half of the test images and samples; the "
    "plot is of the other half."
)


def card(
    trained: Trained,
    report: Report,
    provenance: Provenance,
    differences: Mapping[str, float],
    times: Mapping[str, RunTime],
    on: str,
) -> str:
    """Markdown.

    Args:
        differences: the largest absolute one of onnxruntime from torch, by operation.
        times: of each operation's graph, on a core of the processor called `on`.
    """
    config, data = trained.config, provenance.data
    sections = [
        f"# {config.name}",
        config.description,
        "![samples](samples.png)" if "generate" in differences else "",
        "## What it does",
        _uses(config),
        _FITTED_PRIOR if trained.prior is not None else "",
        _CORRECTION.format(classifier=report.classifier) if trained.correction else "",
        "## Data",
        f"{data.source}. Licence of the data: {data.licence}; attribute its authors when you pass the weights on. "
        f"{data.images:,} training images, sha256 `{data.sha256[:16]}`; test split sha256 `{report.test_sha256[:16]}`.",
        "## Training",
        _table(("", ""), _training(trained, provenance)),
        "## Metrics",
        _table(
            ("metric", "value", "unit", "n", "seed", "protocol"),
            [
                (
                    f"`{r.name}`",
                    f"{r.value:.5g}",
                    r.unit,
                    f"{r.n:,}",
                    "–" if r.seed is None else str(r.seed),
                    r.protocol,
                )
                for r in report.results
            ],
        ),
        (
            f"Sample metrics are in the features of `{report.classifier}` "
            f"(weights sha256 `{report.classifier_sha256}`); they do not compare with Inception's FID."
            if report.classifier
            else ""
        ),
        _NEIGHBOURS.format(n=samples.SAMPLES) if "generate" in differences else "",
        _SMOOTH if {"generate", "encode"} <= differences.keys() else "",
        _RELIABILITY if report.calibration else "",
        f"Largest absolute difference of onnxruntime from torch in batches of {', '.join(map(str, BATCHES))}: "
        + ", ".join(f"`{name}` {value:.1e}" for name, value in differences.items())
        + ". At each of these sizes every row had the same bits, on the CPU that exported it.",
        _table(
            (f"on one core of {on}", "one alone, ms", f"of {ROWS} at a time, ms each"),
            [(f"`{name}`", f"{t.alone_ms:.2g}", f"{t.together_ms:.2g}") for name, t in times.items()],
        ),
        "## Limitations",
        _limitations(config, report, fitted_prior=trained.prior is not None),
        "## Make it again",
        _commands(trained),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _training(trained: Trained, provenance: Provenance) -> list[tuple[str, ...]]:
    config, state, sessions = trained.config, trained.state, provenance.sessions
    parameters = [f"{k} {sum(p.numel() for p in n.parameters()):,}" for k, n in trained.networks.items()]
    hardware = {f"{s.devices} x {s.device}, {s.threads} thread(s) each" for s in sessions}
    stopped = (
        "the whole budget" if state.images_seen >= config.images else f"of a budget of {config.images:,}"
    )
    half_life = config.ema_half_life_images
    weights = f"average with a half-life of {half_life:,} images" if half_life else "the last step's"
    return [
        ("recipe", f"`training/recipes/{config.name}.toml`; the whole config is `config.json`"),
        ("parameters", ", ".join(parameters)),
        ("images seen", f"{state.images_seen:,}, {stopped}"),
        ("batch, learning rate, seed", f"{config.batch_size}, {config.optimizer.lr:g}, {config.seed}"),
        ("weights", f"{weights}; matrices and kernels rounded to float16, served in float32"),
        (
            "time",
            f"{state.seconds / 60:.1f} minutes, {state.images_seen / max(state.seconds, 1e-9):,.0f} images/s, "
            f"in {len(sessions)} session(s)",
        ),
        ("hardware", "; ".join(sorted(hardware))),
        ("cost", cost(sessions, state.seconds)),
        ("precision of the training", config.precision),
        ("torch", ", ".join(sorted({s.torch for s in sessions}))),
        ("commit", ", ".join(dict.fromkeys(f"`{s.commit}`" for s in sessions))),
    ]


def cost(sessions: Sequence[Session], seconds: float) -> str:
    """Of so much training in all; unknown where sessions ran on more and on less."""
    kinds = {(s.gpu, s.devices if s.gpu else s.devices * s.threads) for s in sessions}
    [(gpu, count), *others] = kinds
    if others or gpu is None:
        return "unknown: it is not noted which part of the time was spent on what hardware"
    unit, price = ("GPU", GPU_HOUR_USD) if gpu else ("core", CORE_HOUR_USD)
    hours = count * seconds / 3600
    return f"${hours * price:.2f}: {hours:.2f} {unit} hours at ${price:.2f}"


def _uses(config: Config) -> str:
    match config.model:
        case AEConfig(latent_dim=dim):
            return f"Encodes an image to {dim} numbers and decodes them. It was trained without a prior over codes."
        case VAEConfig(latent_dim=dim, flow_layers=layers):
            prior = (
                f"prior over {dim} latents, learned with it: `prior` turns N(0, I) into latents by {layers} "
                "couplings, and `log_prior` is their log density"
                if layers
                else f"{dim}-dimensional normal prior"
            )
            text = f"Samples from a {prior}; reconstructs, and scores images by their ELBO."
            return f"{text} {_CONDITIONAL}" if config.model.conditional else text
        case GANConfig(latent_dim=dim, coupling=coupling, latent_scale=scale):
            text = f"Samples from a {dim}-dimensional normal prior, and scores images as real or generated."
            if scale != 1:
                text += (
                    f" Latents are multiplied by {scale:g} in the graph `generate` (`latent_scale`): what is drawn "
                    "from nearer to their mean is truer, and varies less."
                )
            if config.model.conditional:
                text += f" {_CONDITIONAL}"
            if coupling != "none":
                text += (
                    f" Its discriminator was trained with {coupling}, which couples the images of a batch. The served "
                    "graph scores each image against one fixed batch of real training images instead, so a score "
                    "never depends on its neighbours. AUROC and calibration below are of the served graph."
                )
            return text
        case ClassifierConfig(features=dim):
            return f"Embeds an image in {dim} features, the space in which the sample metrics are measured."


def _limitations(config: Config, report: Report, *, fitted_prior: bool) -> str:
    values = report.values()
    match config.model:
        case AEConfig():
            lines = [
                f"- Its codes are not distributed as N(0, I): what is decoded from there covers "
                f"{values['coverage']:.0%} of the test images."
            ]
            if fitted_prior:
                lines.append("- The fitted prior knows the codes of training images alone.")
            return "\n".join(lines)
        case VAEConfig(likelihood=likelihood, pixels=pixels):
            lines = ["- Samples are means of p(x|z) and therefore smoother than the data."]
            if pixels == "binarised":
                lines.append(
                    "- A density of binary images: it was trained on pixels drawn anew at each step, with the grey "
                    "values as probabilities, and its bounds are of one such draw of the test images. The "
                    "served ELBO of a grey image is another figure: the expectation over its binary ones, with the "
                    "encoder seeing the grey one."
                )
            elif likelihood == "bernoulli":
                lines.append(
                    "- Pixels are grey: the log-likelihood is the expectation over binarised images, with the encoder "
                    "seeing the grey one. Compare it only with figures got the same way."
                )
            return "\n".join(lines)
        case GANConfig():
            return (
                f"- Precision is {values['precision']:.2f}: the other samples lie outside what the data fills.\n"
                "- A discriminator near equilibrium tells little. Its score is calibrated against this generator's "
                "own samples and says nothing certain of other sources of images."
            )
        case ClassifierConfig():
            return f"- Trained on images as they come in {config.dataset} alone: same size, same framing."


def _commands(trained: Trained) -> str:
    """What makes the run again, with the flags it was given beyond its recipe."""
    config, name = trained.config, trained.config.name
    try:
        recipe = load_recipe(name)
    except ConfigError:
        return "Its recipe is not in this repository; `config.json` has every value."
    flags = [
        f"--{k} {getattr(config, k)}" for k in ("images", "seed") if getattr(config, k) != getattr(recipe, k)
    ]
    if trained.state.images_seen < config.images:
        flags.append(f"--minutes {trained.state.seconds / 60:.0f}")
    arguments = f' ARGS="{" ".join(flags)}"' if flags else ""
    return (
        f"```bash\nmake train RECIPE={name}{arguments}\nmake evaluate MODEL=runs/{name}\n"
        f"make export RUN=runs/{name}\n```"
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
