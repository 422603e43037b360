import pytest
from optuna.trial import TrialState

from rnnexp.trial.states import FINISHED, RUN_STATUS, State


def test_states_have_optunas_names() -> None:
    assert {state.name for state in State} == {state.name for state in TrialState}
    assert all(state.value == state.name for state in State)


@pytest.mark.parametrize("state", State)
def test_a_state_is_final_where_optuna_says_so(state: State) -> None:
    assert (state in FINISHED) == TrialState[state.name].is_finished()


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("COMPLETE", "FINISHED"),
        ("PRUNED", "FINISHED"),
        ("FAIL", "FAILED"),
        ("RUNNING", "RUNNING"),
        ("WAITING", "KILLED"),
    ],
)
def test_each_state_has_one_run_status(state: str, status: str) -> None:
    assert RUN_STATUS[State(state)] == status
    assert len(RUN_STATUS) == len(State) == 5
