"""Bad requests by what is bad about them; what is answered stands in docs/bad-inputs.md."""

from tests.service.http.bad import arrays, headers, images, interpolation, options, v2
from tests.service.http.bad.case import Bad

OWN: dict[str, list[Bad]] = {
    **options.GROUPS,
    **interpolation.GROUPS,
    **headers.GROUPS,
    **images.GROUPS,
    **arrays.GROUPS,
}
ALL: dict[str, list[Bad]] = {**OWN, **v2.GROUPS}
