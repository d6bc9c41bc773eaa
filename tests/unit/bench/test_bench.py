"""The bench's own arithmetic, and when it builds the artefact anew."""

import py_compile
from pathlib import Path

import pytest

from infra import build
from tests.bench.artefact import is_current, runs_the_artefact
from tests.bench.figures import Figure, percentile


def ratio(value: float, *, at_most: float | None = 1.25, at_least: float | None = None, remark: str = "") -> Figure:
    return Figure("cold init", value, "x", "the floor", at_most, at_least, remark)


def test_a_figure_on_its_target_passes_and_one_beyond_fails() -> None:
    assert ratio(1.25).verdict == "pass"
    assert ratio(1.26).verdict == "FAIL"
    assert ratio(900, at_most=None, at_least=1000).verdict == "FAIL"
    assert ratio(1000, at_most=None, at_least=1000).verdict == "pass"


def test_a_figure_without_a_target_informs() -> None:
    assert ratio(9, at_most=None).verdict == "info"


def test_a_figure_of_something_else_than_the_artefact_is_not_judged() -> None:
    figure = ratio(9, remark="Python 3.12 and no artefact")

    assert figure.verdict == "unjudged"
    assert "Python 3.12" in figure.line()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_sample_that_this_share_does_not_exceed(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


@pytest.fixture
def source_and_artefact(tmp_path: Path) -> tuple[Path, Path]:
    source, artefact = tmp_path / "functions", tmp_path / "artefact"
    for folder in (source, artefact):
        (folder / "wallet").mkdir(parents=True)
        (folder / "wallet" / "endpoint.py").write_text("handle = 1\n")
        (folder / "requirements.txt").write_text("requests==2\n")
    return source, artefact


def test_an_artefact_without_bytecode_is_built_anew(source_and_artefact: tuple[Path, Path]) -> None:
    source, artefact = source_and_artefact

    assert not is_current(artefact, source)


@pytest.mark.skipif(not runs_the_artefact(), reason="makes the runtime's bytecode")
class TestWithBytecode:
    @pytest.fixture
    def built(self, source_and_artefact: tuple[Path, Path]) -> tuple[Path, Path]:
        source, artefact = source_and_artefact
        compile_unchecked(artefact / "wallet" / "endpoint.py")
        return source, artefact

    def test_the_artefact_of_this_source_is_used(self, built: tuple[Path, Path]) -> None:
        source, artefact = built

        assert is_current(artefact, source)

    @pytest.mark.parametrize("changed", ["wallet/endpoint.py", "wallet/new.py", "requirements.txt"])
    def test_an_artefact_of_another_source_is_built_anew(self, built: tuple[Path, Path], changed: str) -> None:
        source, artefact = built
        (source / changed).write_text("changed = 2\n")

        assert not is_current(artefact, source)

    def test_an_artefact_with_a_module_that_is_gone_is_built_anew(self, built: tuple[Path, Path]) -> None:
        source, artefact = built
        (artefact / "wallet" / "gone.py").write_text("")

        assert not is_current(artefact, source)

    def test_bytecode_that_an_ordinary_import_wrote_is_not_taken_for_the_build_s(
        self, built: tuple[Path, Path]
    ) -> None:
        source, artefact = built
        py_compile.compile(str(artefact / "wallet" / "endpoint.py"), doraise=True)

        assert not is_current(artefact, source)


def compile_unchecked(module: Path) -> None:
    build.compile_bytecode(module.parent, build.find_runtime_python(build.python_candidates()) or "")
