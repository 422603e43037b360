"""The packages whose tests are tested, and how."""

from dataclasses import dataclass

_PURE = ("pytest", "numpy", "pandas", "optuna", "sqlalchemy", "pydantic", "yaml", "rich", "psutil")


@dataclass(frozen=True)
class Package:
    """A package, and the tests that must notice a change of it.

    Attributes:
        folder: of its modules.
        tests: files and folders, those that notice most first.
        marks: for `pytest -m`.
        preload: libraries that are imported once, before the tests of each mutant run in a forked process.
        environment: further variables of the environment.
        options: further options of pytest.
    """

    folder: str
    tests: tuple[str, ...]
    marks: str
    preload: tuple[str, ...]
    environment: dict[str, str]
    options: tuple[str, ...] = ()


_WITHOUT_PLANTED = (
    "--deselect",
    "tests/simulation/test_simulation.py::test_a_planted_bug_is_found",  # minutes; tests the simulation itself
    "--deselect",
    "tests/simulation/test_simulation.py::test_the_snippet_of_a_planted_bug_is_in_the_code",  # notices any change
)

PACKAGES = {
    "study": Package(
        "rnnexp/study",
        (
            "tests/study/test_failures.py",
            "tests/study/test_supervisor.py",
            "tests/simulation/test_simulation.py",
            "tests/storage/test_space_versions.py",
            "tests/study",  # test_deletion.py starts a server
        ),
        "not tensorflow and not slow",
        _PURE,
        {},
        _WITHOUT_PLANTED,
    ),
    "storage": Package(
        "rnnexp/storage",
        ("tests/storage", "tests/study", "tests/commands", "tests/analysis", "tests/health"),
        "not tensorflow and not slow",
        _PURE,
        {},
    ),
    "kernel": Package(
        "rnnexp/model/kernel",
        (
            "tests/model/test_kernel_edges.py",
            "tests/model/test_splits.py",
            "tests/model/test_team.py",
            "tests/model/test_cells.py",
            "tests/model/test_kernel.py",
            "tests/model/test_kernel_dropout.py",
            "tests/model/test_numba_compiler.py",  # the last two start processes, in which Numba compiles
            "tests/model/test_warm_up.py",
        ),
        "not slow",  # its tests compare with TensorFlow
        (*_PURE, "tensorflow", "keras", "numba", "scipy"),
        # Not compiled: Numba's cache misses changes of kernel/math.py, and compiling takes longer than the tests.
        {"NUMBA_DISABLE_JIT": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        (
            "-W",
            "ignore:overflow encountered:RuntimeWarning",  # of a hash: only NumPy's own loops warn
            "--deselect",
            "tests/model/test_cells.py::test_a_cell_is_one_file",  # looks for Numba's cache
        ),
    ),
}
