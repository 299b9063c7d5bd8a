"""The planner: what becomes of a model when a file is applied, and that every step is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.errors import BadRequest, CallerError, ObjectExists, UnknownObject, WrongState
from meshcode.model.kinds import FIELDS, KINDS, MADE
from meshcode.model.plan import PROBLEMS_MAX, plan_file, plan_removal
from meshcode.model.rounds import rounds
from meshcode.model.steps import Step, follow, model_of, read_steps

EMPTY = model_of({})
PROCESSOR = {"git": "/srv/shop", "module": "shop.tasks"}
SHOP = {
    "queue": {"orders": {}},
    "processor": {"shop": PROCESSOR},
    "socket": {"shop.clean": {"processor": "shop", "task": "clean", "queue": "orders"}},
}


def made(*files):
    """The model after the files were applied one after another."""
    model = EMPTY
    for wanted in files:
        plan = plan_file(model, wanted)
        assert plan.problems == []
        model = follow(model, plan.steps)
    return model


def socket(queue, task="clean"):
    return {"processor": "shop", "task": task, "queue": queue}


def lines(plan):
    return [" ".join((s.do, s.kind, s.name, *s.fields)) for s in plan.steps]


def texts(plan):
    return [problem.text for problem in plan.problems]


def test_what_is_named_is_added_before_what_names_it():
    plan = plan_file(EMPTY, dict(reversed(SHOP.items())))

    assert lines(plan) == [
        "add queue orders",
        "add processor shop git module",
        "add socket shop.clean processor task queue",
    ]


def test_a_queue_and_the_socket_of_its_dead_letters_name_each_other():
    wanted = {
        **SHOP,
        "queue": {"lost": {}, "orders": {"overflow": "dead-letter", "dead_letter": "shop.lost"}},
        "socket": {"shop.clean": socket("orders"), "shop.lost": socket("lost", "keep")},
    }

    plan = plan_file(EMPTY, wanted)
    after = follow(EMPTY, plan.steps)
    gone = plan_removal(after, [(kind, name) for kind in wanted for name in wanted[kind]])

    assert lines(plan)[:2] == ["add queue lost", "add queue orders"]
    assert lines(plan)[-1] == "update queue orders dead_letter overflow"
    assert after["queue"]["orders"]["dead_letter"] == "shop.lost"
    assert lines(gone) == [
        "update queue orders dead_letter overflow",
        "delete socket shop.lost", "delete socket shop.clean", "delete processor shop",
        "delete queue orders", "delete queue lost",
    ]  # fmt: skip
    assert follow(after, gone.steps) == EMPTY


def test_the_second_time_there_is_nothing_to_do():
    plan = plan_file(made(SHOP), SHOP)

    assert (plan.steps, plan.differences, plan.problems) == ([], [], [])


def test_an_option_taken_out_of_the_file_is_taken_away():
    before = made({**SHOP, "queue": {"orders": {"max_length": 5, "message_ttl_ms": 60_000}}})

    plan = plan_file(before, {"queue": {"orders": {"message_ttl_ms": 1_000}}})

    assert plan.steps == [
        Step("update", "queue", "orders", {"max_length": None, "message_ttl_ms": 1_000})
    ]
    assert plan.differences[0].options == {
        "max_length": (5, None), "message_ttl_ms": (60_000, 1_000),
    }  # fmt: skip


def test_a_processor_that_was_stopped_stays_so_unless_the_file_says_otherwise():
    before = made({"processor": {"shop": {**PROCESSOR, "requested_status": "stop"}}})

    silent = plan_file(before, {"processor": {"shop": PROCESSOR}})
    loud = plan_file(before, {"processor": {"shop": {**PROCESSOR, "requested_status": "start"}}})

    assert silent.steps == []
    assert lines(loud) == ["update processor shop requested_status"]


def test_only_kinds_to_prune_lose_what_is_not_in_the_file():
    before = made(SHOP, {"queue": {"old": {}, "older": {}}, "network": {"n": {}}})

    plan = plan_file(before, SHOP, prune=["queue", "socket"])

    assert lines(plan) == ["delete queue older", "delete queue old"]


def test_what_others_use_is_not_deleted():
    plan = plan_file(made(SHOP), {"queue": {}}, prune=["queue"])

    assert texts(plan) == [
        "queue 'orders' would be deleted and is used by socket 'shop.clean'"
    ]
    assert plan.steps == []


def test_users_of_what_would_be_deleted_are_counted():
    many = {**SHOP, "socket": {f"s{i}": socket("orders") for i in range(9)}}

    plan = plan_removal(made(many), [("queue", "orders")])

    assert texts(plan) == [
        "queue 'orders' would be deleted and is used by socket 's0', socket 's1', socket 's2'"
        " and 6 more"
    ]


def test_a_name_that_is_nowhere_is_told_with_what_is_near():
    plan = plan_file(made({"queue": {"orders": {}}}), {**SHOP, "queue": {}, "socket": {
        "shop.clean": socket("ordres"),
    }})  # fmt: skip

    assert texts(plan) == [
        "socket 'shop.clean': queue names queue 'ordres', which is neither in the file nor in the"
        " model; did you mean 'orders'?"
    ]


def test_many_problems_are_counted():
    wanted = {**SHOP, "socket": {f"s{i:03}": socket("no") for i in range(500)}}

    plan = plan_file(EMPTY, wanted)

    assert (len(plan.problems), plan.more_problems) == (PROBLEMS_MAX, 500 - PROBLEMS_MAX)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (
            {"queue": {"q": {"overflow": "dead-letter"}}},
            "queue 'q': overflow is 'dead-letter' and dead_letter names no socket; give one",
        ),
        ({"processor": {"p": {"git": "/x"}}}, "processor 'p' must have a value for module; give"
         " one"),
        (
            {**SHOP, "plug": {"p": {"source": "shop.clean", "target": "shop.clean"}}},
            "plug 'p' would go round: shop.clean -> shop.clean; give another target",
        ),
        (
            {
                **SHOP,
                "socket": {"a": socket("orders"), "b": socket("orders")},
                "plug": {"p": {"source": "a", "target": "b"}, "q": {"source": "b", "target": "a"}},
            },
            "plugs would go round: a -> b -> a; give one of them another target",
        ),
        (
            {
                **SHOP,
                "queue": {"orders": {"overflow": "dead-letter", "dead_letter": "shop.clean"}},
            },
            "dead letters would go round: queue orders -> orders; give a socket of another queue",
        ),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_has_no_plan(wanted, text):
    plan = plan_file(EMPTY, wanted)

    assert (texts(plan), plan.steps) == ([text], [])


def test_a_round_that_is_there_already_stops_nothing_else():
    """Two nodes of a mesh may each declare a half."""
    wanted = {**SHOP, "socket": {"a": socket("orders"), "b": socket("orders")}}
    before = made(wanted)
    for name, source, target in (("p", "a", "b"), ("q", "b", "a")):
        before["plug"][name] = {
            "source": source, "target": target, "queue": None, "type": "RESULT", "argument": None,
        }  # fmt: skip

    plan = plan_file(before, {"queue": {"new": {}}})

    assert lines(plan) == ["add queue new"]
    assert "new" in follow(before, plan.steps)["queue"]


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (Step("add", "queue", "orders"), ObjectExists, "queue 'orders' exists already"),
        (Step("update", "queue", "oders", {"max_length": 1}), UnknownObject, "no queue is named"
         " 'oders'; did you mean 'orders'?"),
        (Step("delete", "queue", "orders"), WrongState, "queue 'orders' is used by socket"
         " 'shop.clean'"),
        (Step("update", "socket", "shop.clean", {"queue": "x"}), UnknownObject,
         "socket 'shop.clean': no queue is named 'x'"),
        (Step("update", "queue", "orders", {"max_length": 0}), BadRequest,
         "queue 'orders': max_length is 0"),
        (Step("add", "gate", "g", {"plug": "p"}), UnknownObject, "gate 'g': no plug is named 'p'"),
    ],
)  # fmt: skip
def test_each_step_is_checked_where_it_stands(step, error, text):
    with pytest.raises(CallerError) as caught:
        follow(made(SHOP), [step])

    assert type(caught.value) is error
    assert caught.value.text.startswith(text)
    assert "nothing was changed" in caught.value.text


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (None, "the steps are None; they must be a list"),
        ([1], "step 1 is 1; it must be [do, kind, name, fields]"),
        ([["add", "queue", "q", {}], ["drop", "queue", "q", {}]], "step 2 would 'drop'; it can:"
         " add, update, delete"),
        ([["add", "queu", "q", {}]], "the model has no kind 'queu'; did you mean 'queue'?"),
        ([["add", "queue", "-q", {}]], "the name of a queue is '-q'; it must be"),
        ([["add", "queue", "q", []]], "the fields of step 1 are []; they must be a map"),
        ([["add", "queue", "q", {1: 2}]], "the fields of step 1 are {1: 2}; they must be a map"),
        ([["update", "queue", "q", {}]], "step 1 changes nothing of queue 'q'; give an option"),
        ([["delete", "queue", "q", {"a": 1}]], "step 1 deletes queue 'q' and has options"),
    ],
)  # fmt: skip
def test_steps_that_are_none_are_refused(rows, text):
    with pytest.raises(BadRequest) as caught:
        read_steps(rows)

    assert caught.value.text.startswith(text)


def test_the_ends_of_chains_are_no_rounds():
    chain = [(str(i), str(i + 1)) for i in range(5_000)]

    assert rounds(chain) == []
    assert rounds([*chain, ("7", "5"), ("5000", "5000")]) == [["5", "6", "7", "5"],
                                                               ["5000", "5000"]]  # fmt: skip


NAMES = st.sampled_from("ab")
NUMBERS = st.integers(1, 3)


def _objects(fields, **always):
    """Objects of a kind, some options given and some not."""
    return st.dictionaries(
        NAMES, st.fixed_dictionaries(always, optional=fields), max_size=2
    )


WANTED = st.fixed_dictionaries(
    {},
    optional={
        "network": _objects({"description": st.sampled_from(["x", "y"])}),
        "scheduler": _objects({"network": NAMES}),
        "node": _objects({"network": NAMES, "scheduler": NAMES, "cpus": NUMBERS}),
        "queue": _objects({"network": NAMES, "max_length": NUMBERS, "dead_letter": NAMES,
                           "overflow": st.sampled_from(["reject", "dead-letter"])}),
        "processor": _objects({"workers": NUMBERS}, git=st.just("file:///srv/x"), module=NAMES),
        "socket": _objects({"priority": NUMBERS}, processor=NAMES, task=NAMES, queue=NAMES),
        "deployment": _objects({"cpus": NUMBERS}, processor=NAMES),
        "plug": _objects({"queue": NAMES}, source=NAMES, target=NAMES),
        "repo": _objects({"access": st.sampled_from(["allow", "deny"])},
                         url=st.just("file:///srv/x")),
        "gate": _objects({}, plug=NAMES),
        "schedule": _objects({"jitter_ms": NUMBERS}, socket=NAMES, cron=st.just("@daily")),
        "setting": st.dictionaries(
            st.sampled_from(["worker_calls", "mounts_max"]),
            st.fixed_dictionaries({"value": NUMBERS}), max_size=2,
        ),
        "override": st.fixed_dictionaries({}, optional={"a.t": st.just({
            "processor": "a", "task": "t", "code": "def t(): ...\n"})}),
        "secret": _objects({}, source=st.just("env:A")),
        "file": _objects({"content": NAMES, "folder": NAMES}),
        "flow": _objects({}, document=st.lists(NAMES, min_size=1, max_size=2).map(
            lambda names: {"parallel": [{"call": name} for name in names]})),
        "role": _objects({"description": st.sampled_from(["x", "y"])}),
        "user": _objects({"enabled": st.booleans(), "roles": st.lists(NAMES, unique=True)}),
        "privilege": _objects({"revoked": st.booleans()}, right=st.just("RUN_TASK"), user=NAMES),
    },
)  # fmt: skip


def test_the_strategy_knows_every_kind():
    assert set(KINDS) == {
        "network", "scheduler", "node", "queue", "processor", "socket", "deployment", "plug",
        "repo", "gate", "role", "user", "privilege", "schedule", "setting", "secret", "file",
        "flow", "override",
    } | set(MADE)  # fmt: skip


@given(st.lists(st.tuples(WANTED, st.booleans()), min_size=1, max_size=3))
@settings(max_examples=200)
def test_a_plan_leads_where_it_says_or_has_a_problem(files):
    """From whatever is there: the steps are allowed, what is wanted is so, and again is nothing."""
    model = EMPTY
    for wanted, pruned in files:
        prune = list(wanted) if pruned else []
        plan = plan_file(model, wanted, prune=prune)
        assert not (plan.problems and plan.steps)
        if plan.problems:
            continue
        after = follow(model, plan.steps)
        for kind in KINDS:
            for name, options in wanted.get(kind, {}).items():
                spec = {field: FIELDS[kind][field].default for field in FIELDS[kind]}
                assert after[kind][name] == spec | options
            others = model[kind].keys() - wanted.get(kind, {}).keys()
            kept = set() if kind in prune else others
            assert after[kind].keys() == wanted.get(kind, {}).keys() | kept
            assert all(after[kind][name] == model[kind][name] for name in kept)
        assert plan_file(after, wanted, prune=prune).steps == []
        back = plan_removal(after, [(kind, name) for kind in KINDS for name in after[kind]])
        assert follow(after, back.steps) == EMPTY
        model = after
