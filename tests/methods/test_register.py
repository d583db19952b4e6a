"""Criteria and keep rules from outside, found by recipes; what the tables say without an import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from pydantic import Field
from torch import Tensor

import lwdna
from lwdna.errors import RecipeError, TrainingError
from lwdna.methods import Budget, ShrinkSettings
from lwdna.methods.criteria import CRITERIA, Problem
from lwdna.methods.keep import KEEP_RULES, Kept
from lwdna.recipe import change_recipe, load_recipe
from lwdna.registry import Registry, declared
from lwdna.settings import Settings
from lwdna.workflows.search import run_search


@pytest.fixture(autouse=True)
def tables_as_before() -> Iterator[None]:
    """Forget what a test registered."""
    before: list[tuple[Registry, set[str]]] = [(t, set(t)) for t in (CRITERIA, KEEP_RULES)]
    yield
    for table, names in before:
        for name in set(table) - names:
            del table._entries[name]


def _register_last_units() -> None:
    @lwdna.register_criterion("last-units", paper="control", ranks=True)
    def last_units(problem: Problem) -> dict[str, Tensor]:
        """The last units of every group.

        Nothing else.
        """
        return {name: torch.arange(width) / width for name, width in problem.widths.items()}


def test_a_criterion_from_outside_is_used_by_a_recipe(tmp_path: Path) -> None:
    assert "no criterion 'last-units'" in _fault("shrink.criterion=last-units")
    _register_last_units()
    changes = ("shrink.criterion=last-units", "shrink.budget={macs: 0.5}", "shrink.multiple=1")
    recipe = load_recipe("digits", changes)
    found = run_search(recipe, tmp_path / "search")
    for name, units in found.units.items():
        wide = found.widened[name]
        assert units.tolist() == list(range(wide - len(units), wide))
    # places in an order: one threshold, the same fraction of every group
    assert found.architecture.found["keep"] == "threshold"
    fractions = [len(units) / found.widened[name] for name, units in found.units.items()]
    assert max(fractions) - min(fractions) <= 1 / min(found.widened.values())
    assert CRITERIA.declarations["last-units"].summary == "The last units of every group."
    assert CRITERIA.declarations["last-units"].arguments == {"paper": "control"}
    assert "did you mean last-units" in _fault("shrink.criterion=last-unit")


class FractionOptions(Settings):
    extra: int = Field(default=0, ge=0)
    scale: float = 1.0


def _only_macs(budget: Budget) -> None:
    if list(budget.fractions()) != ["macs"]:
        raise RecipeError("floors-and-more takes a budget of MACs alone")


def _register_floors_and_more() -> None:
    @lwdna.register_keep_rule("floors-and-more", options=FractionOptions, requires=_only_macs)
    def floors_and_more(graph, scores, least, limits, multiple=1, *, extra, scale) -> Kept:  # type: ignore[no-untyped-def]
        """Some units above the floors."""
        assert list(limits.allowed) == ["macs"]
        return Kept({name: int(scale * width) + extra for name, width in least.items()}, 7.0)


FLOORS = ("shrink.budget={macs: 1.0}", "shrink.floor=0.125", "shrink.linear_floor=0.125")


def test_a_keep_rule_from_outside_and_its_options_are_used_by_a_recipe(tmp_path: Path) -> None:
    assert "no keep rule has an option 'extra'" in _fault("shrink.keep.extra=3")
    _register_floors_and_more()
    recipe = load_recipe("digits", [*FLOORS, "shrink.keep.extra=3"])
    assert recipe.shrink.keep == {"rule": "floors-and-more", "extra": 3, "scale": 1.0}
    found = run_search(recipe, tmp_path / "search")
    assert found.architecture.widths == {name: low + 3 for name, low in found.least.items()}
    assert found.threshold == 7.0
    assert found.architecture.found["keep"] == recipe.shrink.keep
    assert KEEP_RULES.declarations["floors-and-more"].summary == "Some units above the floors."
    assert "extra=-1: input should be greater than or equal to 0" in _fault("shrink.keep.extra=-1")
    assert "shrink.extra is no known key; did you mean shrink.keep.extra" in _fault(
        "shrink.extra=1"
    )


def test_a_keep_rule_says_what_budget_it_needs(tmp_path: Path) -> None:
    _register_floors_and_more()
    recipe = load_recipe("digits", ["shrink.keep=floors-and-more"])  # the recipe limits both
    with pytest.raises(RecipeError, match="a budget of MACs alone"):
        run_search(recipe, tmp_path / "search")


def test_a_second_function_may_not_take_a_name() -> None:
    with pytest.raises(ValueError, match=r"a criterion 'snip' already, lwdna.*snip\.snip; choose"):
        lwdna.register_criterion("snip", paper="control")(lambda problem: {})
    with pytest.raises(ValueError, match=r"keep rule 'knapsack' already, .*keep_by_knapsack; ch"):
        lwdna.register_keep_rule("knapsack")(lambda *given: Kept({}, None))
    _register_last_units()
    _register_last_units()  # the same function again, as when a module is reloaded
    with pytest.raises(ValueError, match="a criterion 'last-units' already"):
        lwdna.register_criterion("last-units", paper="control")(lambda problem: {})
    _register_floors_and_more()
    with pytest.raises(ValueError, match="a keep rule 'floors-and-more' already"):
        lwdna.register_keep_rule("floors-and-more")(lambda *given: Kept({}, None))


def test_an_option_may_not_be_called_as_the_rule_is() -> None:
    class Options(Settings):
        rule: int = 1

    with pytest.raises(ValueError, match="'rule'; rename it"):
        lwdna.register_keep_rule("mine", options=Options)


@pytest.mark.parametrize("table", [CRITERIA, KEEP_RULES], ids=lambda table: table.kind)
def test_what_is_read_from_the_source_is_what_is_registered(table: Registry) -> None:
    found = declared(table._package, table._decorator)
    assert len(found) > 3
    for name, declaration in found.items():
        entry = table[name]
        function = getattr(entry, "score", None) or entry.keep
        assert getattr(import_module(declaration.module), declaration.function) is function
        registered = table.declarations[name]
        assert registered.summary == declaration.summary == function.__doc__.partition("\n")[0]
        assert len(declaration.summary) > 15
        assert (registered.module, registered.function) == (
            declaration.module,
            declaration.function,
        )
        for argument, value in declaration.arguments.items():
            assert getattr(entry, argument) == value
        assert registered.arguments.items() <= declaration.arguments.items()


def _fault(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PROPORTIONAL = {"rule": "proportional", "prior": 0.5, "curvature": 1.0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("threshold", "threshold"),
        ({"rule": "knapsack"}, "knapsack"),
        ("proportional", PROPORTIONAL),
        (PROPORTIONAL | {"prior": 0.3}, PROPORTIONAL | {"prior": 0.3}),
        ({"curvature": 0.5}, PROPORTIONAL | {"curvature": 0.5}),
        ({"prior": 1}, PROPORTIONAL | {"prior": 1.0}),
    ],
)
def test_a_keep_rule_is_a_name_or_a_mapping(
    given: object, expected: object, tmp_path: Path
) -> None:
    assert ShrinkSettings(keep=given).keep == expected
    assert ShrinkSettings(keep=expected).keep == expected
    recipe = load_recipe("digits").model_copy(update={"shrink": ShrinkSettings(keep=given)})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_options_on_the_command_line_go_with_whatever_the_recipe_says() -> None:
    for before in ("null", "threshold", "{rule: proportional, prior: 0.5}"):
        recipe = load_recipe("digits", [f"shrink.keep={before}", "shrink.keep.curvature=0"])
        assert recipe.shrink.keep == PROPORTIONAL | {"curvature": 0.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shrink.keep=thresold", "no keep rule 'thresold'; did you mean threshold"),
        (
            "shrink.keep={rule: proportinal}",
            "no keep rule 'proportinal'; did you mean proportional",
        ),
        ("shrink.keep.curvatur=1", "no keep rule has an option 'curvatur'; did you mean curvature"),
        (
            "shrink.keep={rule: proportional, priors: 1}",
            "proportional has no option 'priors'; did you mean prior",
        ),
        (
            "shrink.keep={rule: knapsack, prior: 0.2}",
            "the keep rule knapsack has no option 'prior'; it has none",
        ),
        ("shrink.keep.prior=1.5", "shrink.keep.prior=1.5: input should be less than or equal to 1"),
        ("shrink.keep={}", "say which rule"),
        ("shrink.keep=3", "write the name of a keep rule (knapsack, "),
        ("shrink.curvature=0", "shrink.curvature is no known key; did you mean shrink.keep.curva"),
        ("shrink.prior=0", "shrink.prior is no known key; did you mean shrink.keep.prior"),
        ("shrink.criterion=synflo", "no criterion 'synflo'; did you mean synflow"),
    ],
)
def test_faults_of_a_keep_rule_say_what_there_is(override: str, message: str) -> None:
    assert message in _fault(override)


def test_an_arm_replaces_the_keep_rule_whole_or_one_option() -> None:
    recipe = load_recipe("digits", ["shrink.keep={prior: 0.3, curvature: 0}"])

    def keep(change: object, key: str = "shrink.keep") -> object:
        return change_recipe(recipe, {key: change}, "the arm").shrink.keep

    assert keep({"prior": 0.25}) == PROPORTIONAL | {"prior": 0.25}
    assert keep("knapsack") == "knapsack"
    assert keep(None) is None
    assert keep(0.75, "shrink.keep.prior") == PROPORTIONAL | {"prior": 0.75, "curvature": 0.0}
    arms = recipe.compare.arms  # scores of controls are places in an order
    assert all(arms[name]["keep"] is None for name in ("uniform", "random"))
    budget = change_recipe(recipe, {"shrink.budget": {"macs": 0.5}}, "x").shrink.budget
    assert budget.fractions() == {"macs": 0.5, "params": 1.5}  # a section keeps its other values


@pytest.mark.parametrize(
    "module",
    [
        "lwdna.methods.criteria.table",
        "lwdna.methods.keep.proportional",
        "lwdna.methods.keep.threshold",
        "lwdna.methods.budget",
        "lwdna.methods.settings",
        "lwdna.engine.task",
        "lwdna.recipe",
        "lwdna.reports.run_files",
    ],
)
def test_settings_need_no_torch(module: str) -> None:
    code = (
        f"import {module}, sys; from lwdna.methods.keep.table import in_full, keys; "
        "assert in_full({'prior': 0.25})['curvature'] == 1 and 'prior' in keys(); "
        "from lwdna.methods.criteria.table import CRITERIA; CRITERIA.check('snip'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _shrink(**options: object) -> lwdna.Architecture:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = [(images, torch.arange(4))]
    model = lwdna.create_model("lwdna:resnet20_cifar", num_classes=5, width_mult=0.25)
    budget = Budget(macs=0.5)
    loss = torch.nn.CrossEntropyLoss()
    return lwdna.shrink(model, images[:1], batches, loss, budget, **options)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda s: torch.full_like(s, torch.nan), TrainingError, "scores that are not finite"),
        (lambda s: s[:-1], RecipeError, r"gives \[7\] for the group 'stem.0'; .* shape \[8\]"),
        (lambda s: s.tolist(), RecipeError, "gives list for the group 'stem.0'"),
        (lambda s: None, RecipeError, "gives NoneType for the group 'stem.0'"),
    ],
)
def test_scores_that_no_search_can_use_are_refused(answer, error, message) -> None:  # type: ignore[no-untyped-def]
    @lwdna.register_criterion("odd", paper="control")
    def odd(problem: Problem) -> dict[str, Tensor]:
        """Odd scores of one group."""
        scores = {name: torch.ones(width) for name, width in problem.widths.items()}
        return {name: answer(s) if name == "stem.0" else s for name, s in scores.items()}

    with pytest.raises(error, match=rf"the criterion odd {message}|odd .*{message}"):
        _shrink(criterion="odd")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda least, most: most, "exceed the budget of"),
        (lambda least, most: {**least, "stem.0": least["stem.0"] - 1}, "'stem.0' the width 1"),
        (
            lambda least, most: {**least, "stem.0": most["stem.0"] + 1},
            "'stem.0' the width 9; .* 2 to 8",
        ),
        (lambda least, most: {n: w for n, w in least.items() if n != "stem.0"}, "the width None"),
    ],
)
def test_widths_beyond_floors_or_budget_are_refused(answer, message: str) -> None:  # type: ignore[no-untyped-def]
    @lwdna.register_keep_rule("odd")
    def odd(graph, scores, least, limits, multiple=1) -> Kept:  # type: ignore[no-untyped-def]
        """Odd widths."""
        return Kept(answer(dict(least), {name: len(s) for name, s in scores.items()}), None)

    with pytest.raises(RecipeError, match=f"the keep rule odd gives .*{message}"):
        _shrink(keep="odd")


@pytest.mark.parametrize("multiple", [1, 3])
@pytest.mark.parametrize("rule", ["threshold", "knapsack", "knapsack-full", "proportional"])
def test_every_keep_rule_keeps_floors_and_budget(rule: str, multiple: int) -> None:
    images = torch.zeros(1, 3, 16, 16)
    model = lwdna.create_model("lwdna:resnet20_cifar", num_classes=5, width_mult=0.25)
    batches = [(torch.randn(4, 3, 16, 16), torch.arange(4))]
    budget = Budget(macs=0.7, params=0.8)
    loss = torch.nn.CrossEntropyLoss()
    arch = lwdna.shrink(model, images, batches, loss, budget, keep=rule, multiple=multiple)
    assert arch.cost.macs <= 0.7 * arch.baseline.macs
    assert arch.cost.params <= 0.8 * arch.baseline.params
    graph = lwdna.trace(model, images)
    assert all(arch.widths[name] >= (2 * width + 3) // 4 for name, width in graph.widths.items())


def test_a_name_stands_under_a_decorator_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "two_of_a_name"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for file in ("one", "two"):
        (package / f"{file}.py").write_text("@enter('name')\ndef function(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"'name' stands under @enter in two_of_a_name.one and"):
        declared("two_of_a_name", "enter")
