"""Searches of scikit-learn's on the workers of Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase, SequentialBackend

from gru_native.arguments import instance


@contextmanager
def on_dask(client: Any) -> Iterator[None]:
    """Run what joblib would run in parallel, such as a search of scikit-learn's, on the workers of a Dask cluster.

    Each call takes its arguments along: of a worker that is lost, others make the calls again. joblib's own backend for
    Dask leaves arrays on single workers, and a search ends when one of these is lost. This one is for data of
    megabytes, not of gigabytes.

    Parameters
    ----------
    client : dask.distributed.Client
        Of the cluster: ``pip install 'gru_native[dask]'``.

    Examples
    --------
    ::

        with on_dask(Client("tcp://scheduler:8786")):
            GridSearchCV(GRUClassifier(random_state=0, n_jobs=1, checkpoint="kept"), grid).fit(X, y)
    """
    with parallel_config(backend=_Workers(_checked(client))):
        yield


def _checked(client: Any) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError(f"on_dask needs Dask ({error}): pip install 'gru_native[dask]'") from error
    return instance("client", client, Client, "a Client of Dask")


class _Workers(ParallelBackendBase):
    """How joblib has calls made by a cluster; the names are joblib's."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, client: Any) -> None:
        super().__init__()
        self.client = client

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(1, sum(self.client.nthreads().values()))

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None) -> Any:
        future = self.client.submit(func, pure=False)
        future.add_done_callback(callback)
        return future

    apply_async = submit  # as joblib called it before 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        return out.result()

    def get_nested_backend(self) -> tuple[Any, int]:
        return SequentialBackend(nesting_level=1), 1
