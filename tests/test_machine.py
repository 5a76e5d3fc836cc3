"""How products of matrices are given one thread."""

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - it has a BLAS of its own
from threadpoolctl import ThreadpoolController

from headstart import machine

pytestmark = pytest.mark.fast


def threads() -> set[int]:
    return {pool["num_threads"] for pool in ThreadpoolController().select(user_api="blas").info()}


def test_all_products_have_one_thread_inside_and_what_they_had_before_outside():
    np.ones((2, 2)) @ np.ones((2, 2))
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        assert threads() == {2}
        with machine.one_thread():
            assert threads() == {1}
        assert threads() == {2}


def test_threads_are_given_back_after_an_error():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        with pytest.raises(ZeroDivisionError), machine.one_thread():
            raise ZeroDivisionError
        assert threads() == {2}


def test_scipys_pool_is_found_though_nobody_has_imported_it():
    import subprocess
    import sys

    code = (
        "import numpy, sys\n"
        "from headstart import machine\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "with machine.one_thread():\n"
        "    from threadpoolctl import threadpool_info\n"
        "    found = [pool for pool in threadpool_info() if pool['user_api'] == 'blas']\n"
        "print([pool['num_threads'] for pool in found], 'scipy.linalg' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == "[1, 1] True"
