"""Command line: python -m training train | evaluate | export | card | study | speedrun | peers."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from training.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Run a command; an error that a user can mend is one line on stderr and exit status 2."""
    args = vars(_parser().parse_args(argv))
    from training import commands  # noqa: PLC0415 - `--help` answers without torch

    runs: dict[str, Callable[..., None]] = {
        "train": commands.train_recipe,
        "evaluate": commands.evaluate_model,
        "export": commands.export_run,
        "card": commands.print_card,
        "study": commands.run_studies,
        "speedrun": commands.run_speedrun,
        "peers": commands.compare_with_peers,
    }
    run = runs[args.pop("command")]
    try:
        run(**args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = ", ".join(path.stem for path in sorted((Path(__file__).parent / "recipes").glob("*.toml")))

    train = commands.add_parser("train", help="train a recipe into a run folder")
    train.add_argument("recipe", help=f"one of {names}; or a .toml file")
    _add_data(train)
    _add_device(train)
    train.add_argument("--out", type=Path, help="run folder (default: runs/RECIPE)")
    train.add_argument("--devices", type=_count, default=1, help="processes, one a GPU (or CPU)")
    train.add_argument("--threads", type=_count, help="CPU threads of torch")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in the run folder")
    train.add_argument(
        "--minutes", type=float, help="stop, with a checkpoint, after so much training time in all"
    )
    train.add_argument("--images", type=int, help="train on so many images in place of the recipe's")
    train.add_argument("--seed", type=int, help="in place of the recipe's")
    train.add_argument(
        "--dry-run", action="store_true", help="print the config and the networks' sizes, and stop"
    )

    evaluate = commands.add_parser(
        "evaluate", help="measure a run, or measure a published model again and compare"
    )
    evaluate.add_argument("model", help="run folder, or NAME or NAME/VERSION of a published model")
    _add_data(evaluate)
    _add_device(evaluate)
    evaluate.add_argument("--classifier", type=Path, help="folder of the classifier for the sample metrics")

    export = commands.add_parser("export", help="write an evaluated run as the next version in models/")
    export.add_argument("run_folder", type=Path, metavar="RUN")
    _add_data(export)
    export.add_argument("--models", type=Path, default=Path("models"), help="folder to write to")
    export.add_argument("--version", type=int, help="in place of the next one")

    card = commands.add_parser("card", help="print the model card of a published model")
    card.add_argument("model", help="NAME or NAME/VERSION")

    study = commands.add_parser("study", help="reproduce a study of docs/studies/")
    study.add_argument("name", help="its name, or `all`")
    study.add_argument("--quick", action="store_true", help="the short form, which shows the direction only")
    study.add_argument(
        "--out", type=Path, help="folder of the pages (default: docs/studies; quick: runs/studies)"
    )
    study.add_argument("--processes", type=_count, default=1, help="runs at a time, one thread each")
    _add_device(study)

    _add_speedrun(
        commands.add_parser(
            "speedrun", help="train a GAN of Stacked-MNIST until it reaches all modes, against the clock"
        )
    )

    peers = commands.add_parser(
        "peers", help="train ours and what one would otherwise train for the same time, and compare"
    )
    peers.add_argument("--minutes", type=float, default=10, help="of training, each (default: %(default)s)")
    peers.add_argument("--only", nargs="+", metavar="NAME", help="rows of the table (default: all)")
    peers.add_argument(
        "--out", type=Path, default=Path("docs"), help="folder of the page (default: %(default)s)"
    )
    peers.add_argument("--threads", type=_count, help="CPU threads of torch")
    peers.add_argument("--processes", type=_count, default=1, help="rows at a time (default: %(default)s)")
    _add_device(peers)
    return parser


def _add_speedrun(speedrun: argparse.ArgumentParser) -> None:
    speedrun.add_argument("--recipe", default="stacked-mnist-gan", help="default: %(default)s")
    speedrun.add_argument("--seeds", type=_count, default=5, help="default: %(default)s")
    speedrun.add_argument(
        "--every", type=_count, default=50_000, help="images between looks (default: %(default)s)"
    )
    speedrun.add_argument(
        "--minutes", type=float, default=60, help="of training, at most, a seed (default: %(default)s)"
    )
    speedrun.add_argument("--modes", type=_count, help="to be reached (default: all)")
    speedrun.add_argument("--samples", type=_count, help="of each look (default: 26,000)")
    speedrun.add_argument(
        "--whole", action="store_true", help="when they are, go on to the end of the recipe all the same"
    )
    speedrun.add_argument(
        "--processes", type=_count, default=1, help="seeds at a time (default: %(default)s)"
    )
    speedrun.add_argument("--runs", type=Path, help="folder to keep the runs in (default: they are not kept)")
    speedrun.add_argument("--resume", action="store_true", help="go on with the runs that are there")
    speedrun.add_argument(
        "--out", type=Path, default=Path("docs"), help="folder of the page (default: %(default)s)"
    )
    speedrun.add_argument("--threads", type=_count, help="CPU threads of torch")
    _add_data(speedrun)
    _add_device(speedrun)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", type=Path, help="folder or zip of the images (default: searched for, then downloaded)"
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


if __name__ == "__main__":
    sys.exit(main())
