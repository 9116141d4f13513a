"""Studies: what the theory says, shown with numbers. One file each."""

from training.studies import blur, collapse, equilibrium, kl, rejection, sampling, vanishing
from training.studies.study import Study


def studies() -> dict[str, Study]:
    """All studies by name, in the order of the story."""
    modules: tuple[Study, ...] = (
        sampling.STUDY,
        kl.STUDY,
        blur.STUDY,
        vanishing.STUDY,
        equilibrium.STUDY,
        collapse.STUDY,
        rejection.STUDY,
    )
    return {study.name: study for study in modules}
