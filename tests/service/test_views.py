import numpy as np

from service.views import view


def test_an_error_map_by_hand() -> None:
    black, colours = np.zeros((1, 1, 2, 3), np.uint8), np.array([[[[255, 0, 0], [1, 1, 2]]]], np.uint8)
    # 255 / 3 = 85 and 4 / 3, either way round.
    for one, other in ((black, colours), (colours, black)):
        assert view(one, other, "error").tolist() == [[[[85], [1]]]]
        got = view(one, other, "comparison")
        assert got.tolist() == [[*one[0].tolist(), *other[0].tolist(), [[85] * 3, [1] * 3]]]
        assert view(one, other, "images") is other
