"""The model card of a bundle: what it is, what it was made of, how well it does, how to make it again."""

from collections.abc import Mapping

from training.families.ae import AEConfig
from training.families.classifier import ClassifierConfig
from training.families.gan import GANConfig
from training.families.vae import VAEConfig
from training.report import Report
from training.trained import Trained


def card(
    fields: Mapping[str, object],
    trained: Trained,
    report: Report,
    environment: Mapping[str, object],
    differences: Mapping[str, float],
) -> str:
    """Markdown.

    Args:
        fields: the manifest's fields.
        environment: hardware and versions of the training run.
        differences: largest absolute difference of onnxruntime from torch, by operation.
    """
    config = trained.config
    minutes = trained.seconds / 60
    rate = trained.images_seen / trained.seconds if trained.seconds else 0.0
    sections = [
        f"# {config.name}",
        config.description,
        "![samples](samples.png)" if "generate" in differences else "",
        "## What it does",
        _uses(trained),
        "## Data",
        f"{_dataset(fields)} Digest of the test split: `{report.dataset_sha256[:16]}`.",
        "## Training",
        _table(
            ("", ""),
            [
                ("recipe", f"`training/recipes/{config.name}.toml` (whole config: `config.json`)"),
                ("images seen", f"{trained.images_seen:,}"),
                ("time", f"{minutes:.1f} minutes, {rate:,.0f} images/s"),
                (
                    "hardware",
                    f"{environment['devices']} x {environment['device']}, {environment['threads']} thread(s)",
                ),
                ("precision", config.precision),
                ("torch", str(environment["torch"])),
                ("commit", f"`{fields['git_commit']}`"),
            ],
        ),
        "## Metrics",
        _table(
            ("metric", "value", "unit", "n", "protocol"),
            [(f"`{r.name}`", f"{r.value:.5g}", r.unit, f"{r.n:,}", r.protocol) for r in report.results],
        ),
        (
            f"Sample metrics are in the features of `{report.classifier}` "
            f"(weights sha256 `{report.classifier_sha256}`); they do not compare with Inception's FID."
            if report.classifier
            else ""
        ),
        "Largest absolute difference of onnxruntime from torch, batches of 1, 2, 7 and 64: "
        + ", ".join(f"`{name}` {value:.1e}" for name, value in differences.items())
        + ". Each row's bits are the same in every batch.",
        "## Limitations",
        _limitations(trained, report),
        "## Make it again",
        f"```bash\nmake train RECIPE={config.name}\nmake evaluate MODEL={config.name}\n"
        f"make export RUN=runs/{config.name}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _dataset(fields: Mapping[str, object]) -> str:
    dataset = fields["dataset"]
    return f"{getattr(dataset, 'source', '')}. Licence: {getattr(dataset, 'licence', '')}."


def _uses(trained: Trained) -> str:
    match trained.config.model:
        case AEConfig(latent_dim=dim):
            return f"Encodes an image to {dim} numbers and decodes them. Codes have no prior, so it is not sampled."
        case VAEConfig(latent_dim=dim):
            return f"Samples from a {dim}-dimensional normal prior, reconstructs, and scores images by their ELBO."
        case GANConfig(latent_dim=dim, coupling=coupling):
            text = f"Samples from a {dim}-dimensional normal prior, and scores images as real or generated."
            if coupling != "none":
                text += (
                    f" Its discriminator was trained with {coupling}, which couples the images of a batch. The served "
                    "graph scores each image against one fixed batch of real training images instead, so a score "
                    "never depends on its neighbours. AUROC and calibration below are of the served graph."
                )
            return text
        case ClassifierConfig(features=dim):
            return f"Embeds an image in {dim} features, the space in which the sample metrics are measured."


def _limitations(trained: Trained, report: Report) -> str:
    values = report.values()
    match trained.config.model:
        case AEConfig():
            return "- Decoding points drawn at random gives no digits: the distribution of codes is unknown."
        case VAEConfig(likelihood=likelihood):
            lines = ["- Samples are means of p(x|z) and therefore smoother than the data."]
            if likelihood == "bernoulli":
                lines.append(
                    "- Pixels are grey: the log-likelihood is the expectation over binarised images, with the encoder "
                    "seeing the grey one. Compare it only with figures got the same way."
                )
            return "\n".join(lines)
        case GANConfig():
            return (
                f"- The Frechet distance is {values['fd10k'] / values['fd10k_floor']:.1f} times that of training "
                "images; some samples are no digits.\n"
                "- A discriminator near equilibrium tells little: its score is calibrated against this generator's own "
                "samples and says nothing certain of other sources of images."
            )
        case ClassifierConfig():
            return "- Trained on centred digits of this dataset alone."


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
