import threading

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.passage import LISTENER, STEPS, Passage


def test_steps_follow_one_another_without_a_gap() -> None:
    passage = Passage()
    passage.ends("wait")
    with pytest.raises(ValueError, match="broken"), passage.during("decode"):
        raise ValueError("broken")
    passage.ends("hold")
    wait, decode, hold = passage.steps
    assert [step.name for step in passage.steps] == list(STEPS[:3])
    assert wait.begin <= wait.end == decode.begin <= decode.end == hold.begin <= hold.end


def test_who_listens_where_it_began_is_told_wherever_it_ends() -> None:
    heard = []
    token = LISTENER.set(heard.append)
    passage = Passage()
    LISTENER.reset(token)
    other = Passage()
    thread = threading.Thread(target=lambda: (passage.over(), other.over()))
    thread.start()
    thread.join()
    assert heard == [passage]
