"""The operations, each run to its end by itself."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from service import elbo, operations, rejection
from service.steps import Steps, finish
from service.tensors import Images

P = ParamSpec("P")
T = TypeVar("T")


def _alone(operation: Callable[P, Steps[T]]) -> Callable[P, T]:
    @functools.wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return finish(operation(*args, **kwargs))

    return call


draw = _alone(operations.draw)
sampled = _alone(operations.sample)
encode = _alone(operations.encode)
decode = _alone(operations.decode)
reconstruct = _alone(operations.reconstruct)
interpolate = _alone(operations.interpolate)
score = _alone(operations.score)
discriminate = _alone(operations.discriminate)
keep = _alone(rejection.sample)
elbo_nats = _alone(elbo.elbo_nats)
importance_weighted_nats = _alone(elbo.importance_weighted_nats)


@functools.wraps(operations.sample)
def sample(*args: Any, **kwargs: Any) -> Images:
    return sampled(*args, **kwargs).images
