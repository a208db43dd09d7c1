"""The engine: same bytes whatever the neighbours, one end for every edit, nobody waits for more than a scale."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.toys import picture, toy_pipeline
from varedit.errors import UsageError
from varedit.generation import Generation
from varedit.pipeline import VAREditPipeline
from varedit.serving.edits import EditEvent, EventQueue, Failed, Finished, ScaleDone, SubmittedEdit
from varedit.serving.engine import Engine
from varedit.serving.limits import EngineLimits, batch_memory, bytes_together
from varedit.serving.refusals import Cancelled, DeadlinePassed, Draining, NotReady, QueueFull
from varedit.serving.state import EngineState

NUM_SCALES = 4
PLENTY = 10**10


@pytest.fixture(scope="module")
def pipeline() -> VAREditPipeline:
    return toy_pipeline()


def limits(**changed: int) -> EngineLimits:
    return EngineLimits(**{"max_batch": 1, "max_active": 4, "max_queue": 32, "memory_bytes": PLENTY} | changed)


def wishes() -> list[dict[str, Any]]:
    """Edits of three templates, with and without guidance, of unlike instructions, settings and sizes."""
    sizes = [(40, 40), (70, 40), (40, 70), (52, 48)]
    return [
        {
            "image": picture(*sizes[index % 4], seed=index),
            "prompt": ("make it warmer", "darker", "make the picture a lot warmer and slightly darker")[index % 3],
            "seed": 100 + index,
            "guidance_scale": (1.0, 2.0, 3.5)[index % 3],
            "temperature": 0.5 + 0.1 * index,
        }
        for index in range(9)
    ]


def submitted(engine: Engine, wish: dict[str, Any], listener: Any = None, **more: Any) -> tuple[SubmittedEdit, Any]:
    events = EventQueue() if listener is None else listener
    requests, options = engine.pipeline.requests(**wish)
    return engine.submit(requests, options, [events], **more)[0], events


class Gate:
    """Lets the model draw scale by scale: holds every scale until it is allowed, and notes what was drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._allowed, self._reached = threading.Semaphore(0), threading.Semaphore(0)
        self.drawn: list[tuple[int, int]] = []  # (which generation, in order of beginning; scale)
        self._names: dict[int, int] = {}
        self._kept: list[Generation] = []
        draw = Generation.__next__

        def held(generation: Generation) -> Any:
            if generation.cache.next_scale < NUM_SCALES:
                self._kept.append(generation)  # or its id could be given to another
                name = self._names.setdefault(id(generation), len(self._names))
                self.drawn.append((name, generation.cache.next_scale))
                self._reached.release()
                assert self._allowed.acquire(timeout=20)
            return draw(generation)

        monkeypatch.setattr(Generation, "__next__", held)

    def wait(self) -> None:
        """Until the model is about to draw a scale."""
        assert self._reached.acquire(timeout=60)

    def let_pass(self, scales: int = 1) -> None:
        for _ in range(scales):
            self._allowed.release()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.let_pass(1000)


def eventually(state: Callable[[], EngineState], is_true: Callable[[EngineState], bool]) -> None:
    end = time.monotonic() + 60
    while not is_true(state()):
        assert time.monotonic() < end, f"it never came true; the engine is {state()}"
        time.sleep(0.005)


# Results


def test_every_result_is_that_of_the_edit_alone(pipeline):
    alone = [pipeline(**wish) for wish in wishes()]
    with Engine(pipeline, limits()) as engine:
        queues = [submitted(engine, wish)[1] for wish in wishes()]
        results = [events.result() for events in queues]
    for one, result in zip(alone, results, strict=True):
        assert np.array_equal(np.asarray(one.images[0]), np.asarray(result.output.images[0]))
        assert result.output.settings == one.settings and result.output.seeds == one.seeds


def test_shared_batches_give_the_bits_of_single_edits(pipeline):
    """Batched products are rounded otherwise than single ones, so pixels may differ by one level, but by no more."""
    alone = [pipeline(**wish) for wish in wishes()]
    with Engine(pipeline, limits(max_batch=4)) as engine:
        queues = [submitted(engine, wish)[1] for wish in wishes()]
        results = [events.result() for events in queues]
    for one, result in zip(alone, results, strict=True):
        difference = np.asarray(one.images[0]).astype(int) - np.asarray(result.output.images[0])
        assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.01


def test_events_tell_every_scale_once_and_then_the_end(pipeline):
    with Engine(pipeline, limits()) as engine:
        _, events = submitted(engine, wishes()[0], previews={1, 2, NUM_SCALES - 1})
        *scales, end = list(events)
    assert [event.index for event in scales] == list(range(NUM_SCALES))
    assert [event.grid for event in scales] == [(1, 1), (2, 2), (3, 3), (5, 5)]
    assert [event.preview is not None for event in scales] == [False, True, True, False]
    assert isinstance(end, Finished) and 0 <= end.queued <= end.seconds


def test_previews_have_the_proportions_of_the_photograph_and_come_nearer_to_the_result(pipeline):
    wish = wishes()[0] | {"image": picture(40, 160, seed=3), "restore": False}
    with Engine(pipeline, limits()) as engine:
        _, events = submitted(engine, wish, previews={0, 2})
        scales = list(events)
    shown = [event.preview for event in scales if isinstance(event, ScaleDone) and event.preview is not None]
    assert [image.height / image.width for image in shown] == pytest.approx([4, 4], rel=0.15)
    end = scales[-1]
    assert isinstance(end, Finished)
    final = np.asarray(end.output.images[0].resize(shown[0].size)).astype(float)
    first, second = (np.abs(np.asarray(image).astype(float) - final).mean() for image in shown)
    assert second < first


# Order


def test_a_newcomer_waits_for_one_scale(pipeline, gate):
    with Engine(pipeline, limits()) as engine:
        submitted(engine, wishes()[0])
        gate.wait()
        gate.let_pass(2)
        gate.wait(), gate.wait()  # the first edit is about to draw its third scale
        _, late = submitted(engine, wishes()[1])
        gate.let_pass(1000)
        late.result()
    order = gate.drawn[3:]
    assert gate.drawn[:3] == [(0, 0), (0, 1), (0, 2)]
    assert order[:3] == [(1, 0), (1, 1), (1, 2)]  # the newcomer catches up,
    assert order[3:5] == [(0, 3), (1, 3)]  # and the older edit is done first


def test_edits_that_wait_together_share_a_batch_if_their_key_is_the_same(pipeline, gate):
    sizes: list[int] = []

    class Counting:
        def batch_began(self, size: int) -> None:
            sizes.append(size)

        def scale_drawn(self, index: int, seconds: float) -> None: ...

        def edit_ended(self, outcome: str, queued: float | None, seconds: float) -> None: ...

    with Engine(pipeline, limits(max_batch=3, max_active=1), Counting()) as engine:
        submitted(engine, wishes()[0])
        gate.wait()
        square = wishes()[0]
        others = [square, wishes()[1], square | {"seed": 5}, square | {"seed": 6, "temperature": 0.2}, square]
        queues = [submitted(engine, wish)[1] for wish in others]
        gate.let_pass(1000)
        for events in queues:
            events.result()
    assert sizes == [1, 3, 1, 1]  # three squares, the wide one that came before the last square, that one


def test_memory_bounds_what_is_under_way(pipeline, gate):
    requests, options = pipeline.requests(**wishes()[0])
    key = (pipeline.template(requests[0], options), options, False)
    one = batch_memory(pipeline, key, 1)
    two = bytes_together([one, one])
    assert bytes_together([one]) < two < bytes_together([one, one, one])
    with Engine(pipeline, limits(memory_bytes=two)) as engine:
        submitted(engine, wishes()[0])
        gate.wait()
        for seed in range(3):
            submitted(engine, wishes()[0] | {"seed": seed})
        gate.let_pass()
        gate.wait()
        assert (engine.state().active, engine.state().waiting) == (2, 2)
        gate.let_pass(1000)
        assert engine.drain(60)
    with Engine(pipeline, limits(memory_bytes=bytes_together([one]) - 1)) as engine, pytest.raises(UsageError) as told:
        submitted(engine, wishes()[0])
    assert "GB of memory" in str(told.value)


# Ends that are no results


def test_a_cancelled_edit_ends_at_the_next_scale(pipeline, gate):
    with Engine(pipeline, limits()) as engine:
        edit, events = submitted(engine, wishes()[0])
        gate.wait()
        edit.cancel()
        gate.let_pass(1)
        with pytest.raises(Cancelled):
            events.result()
        assert gate.drawn == [(0, 0)]
        assert engine.state().outcomes["cancelled"] == 1
        edit.cancel()  # harmless
        assert engine.drain(60)


def test_a_cancelled_neighbour_changes_nothing(pipeline, gate):
    gate.let_pass(1000)
    alone = pipeline(**wishes()[0])
    with Engine(pipeline, limits(max_batch=2)) as engine:
        requests, options = pipeline.requests(**wishes()[0])
        both = [EventQueue(), EventQueue()]
        edits = engine.submit(requests * 2, options, both)
        edits[1].cancel()
        assert np.array_equal(np.asarray(both[0].result().output.images[0]), np.asarray(alone.images[0]))


def test_a_deadline_is_kept_in_the_queue_and_while_drawing(pipeline, gate):
    with Engine(pipeline, limits(max_active=1)) as engine:
        _, running = submitted(engine, wishes()[0], deadline=time.monotonic() + 0.05)
        gate.wait()
        _, waiting = submitted(engine, wishes()[1], deadline=time.monotonic() + 0.05)
        time.sleep(0.06)
        gate.let_pass(1000)
        for events in (running, waiting):
            with pytest.raises(DeadlinePassed):
                events.result()
        assert engine.state().outcomes == {"finished": 0, "failed": 0, "cancelled": 0, "late": 2}


def test_a_deadline_that_cannot_be_kept_is_refused_at_once(pipeline):
    with Engine(pipeline, limits()) as engine:
        submitted(engine, wishes()[0])[1].result()  # now it knows what an edit costs
        with pytest.raises(DeadlinePassed):
            submitted(engine, wishes()[1], deadline=time.monotonic())


def test_a_full_queue_says_how_long_to_wait(pipeline, gate):
    with Engine(pipeline, limits(max_active=1, max_queue=2)) as engine:
        submitted(engine, wishes()[0])
        gate.wait()
        for index in (1, 2):
            submitted(engine, wishes()[index])
        with pytest.raises(QueueFull) as told:
            submitted(engine, wishes()[3])
        assert told.value.wait > 0
        requests, options = pipeline.requests(**wishes()[3], num_images_per_prompt=3)
        with pytest.raises(QueueFull):  # all or none
            engine.submit(requests, options, [EventQueue()] * 3)
        gate.let_pass(1000)
        assert engine.drain(60)
        assert engine.state().outcomes["finished"] == 3


def test_photographs_are_bounded_in_pixels(pipeline, gate):
    with Engine(pipeline, limits(max_pixels=4000)) as engine:
        submitted(engine, wishes()[0])  # 1600 pixels
        gate.wait()
        with pytest.raises(QueueFull, match="too large together"):
            submitted(engine, wishes()[1])  # 2800
        gate.let_pass(1000)
        assert engine.drain(60)
    with Engine(pipeline, limits(max_pixels=1)) as engine:  # one alone is always taken
        submitted(engine, wishes()[0])[1].result()


def test_draining_ends_what_is_there_and_refuses_the_rest(pipeline, gate):
    with Engine(pipeline, limits()) as engine:
        queues = [submitted(engine, wish)[1] for wish in wishes()[:3]]
        gate.wait()
        assert not engine.drain(0.01)
        with pytest.raises(Draining):
            submitted(engine, wishes()[4])
        gate.let_pass(1000)
        assert engine.drain(60)
        for events in queues:
            events.result()


def test_closing_leaves_nobody_waiting(pipeline, gate):
    engine = Engine(pipeline, limits(max_active=1))
    engine.start()
    queues = [submitted(engine, wish)[1] for wish in wishes()[:3]]
    gate.wait()
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.let_pass(1000)
    closing.join(60)
    for events in queues:
        with pytest.raises(Draining):
            events.result()


# Failures


def test_an_edit_that_fails_fails_alone(pipeline, monkeypatch):
    """Of a batch only those fail that fail alone; the others are drawn again, and no scale is told twice."""
    draw = Generation.__next__

    def failing(generation: Generation) -> Any:
        if generation.cache.next_scale == 2 and (generation.sampler.temperature == 0.25).any():
            raise torch.OutOfMemoryError("no memory left")
        return draw(generation)

    monkeypatch.setattr(Generation, "__next__", failing)
    square = wishes()[0]
    with Engine(pipeline, limits(max_batch=3)) as engine:
        all_requests = []
        for seed, temperature in ((1, 0.5), (2, 0.25), (3, 0.5)):
            requests, options = pipeline.requests(**square | {"seed": seed, "temperature": temperature})
            all_requests += requests
        queues = [EventQueue() for _ in range(3)]
        engine.submit(all_requests, options, queues)
        ends = [list(events) for events in queues]
        assert engine.state().outcomes == {"finished": 2, "failed": 1, "cancelled": 0, "late": 0}
    scales = [[event.index for event in told if isinstance(event, ScaleDone)] for told in ends]
    assert scales == [[0, 1, 2, 3], [0, 1], [0, 1, 2, 3]]
    for told, seed in ((ends[0], 1), (ends[2], 3)):  # drawn twice, from the seed both times
        assert isinstance(told[-1], Finished)
        one = pipeline(**square | {"seed": seed, "temperature": 0.5}).images[0]
        assert np.array_equal(np.asarray(told[-1].output.images[0]), np.asarray(one))
    assert isinstance(ends[1][-1], Failed) and isinstance(ends[1][-1].error, torch.OutOfMemoryError)


def test_a_lost_device_ends_everything_and_says_so(pipeline, monkeypatch):
    def failing(generation: Generation) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")

    monkeypatch.setattr(Generation, "__next__", failing)
    with Engine(pipeline, limits(max_active=1)) as engine:
        queues = [submitted(engine, wish)[1] for wish in wishes()[:2]]
        for events in queues:
            with pytest.raises(NotReady):
                events.result()
        eventually(engine.state, lambda state: state.failure is not None)
        assert engine.state().failure == "CUDA error: an illegal memory access was encountered"
        with pytest.raises(NotReady):
            submitted(engine, wishes()[2])


def test_many_callers_get_one_end_each(pipeline):
    """Threads submit, cancel and wait at once: every edit ends once, and results are those of the edit alone."""
    chosen = wishes()
    alone = {wish["seed"]: np.asarray(pipeline(**wish).images[0]) for wish in chosen}
    ends: list[tuple[int, bool, list[EditEvent]]] = []

    def caller(number: int, engine: Engine) -> None:
        for turn in range(3):
            wish = chosen[(number + 2 * turn) % len(chosen)]
            edit, events = submitted(engine, wish)
            if (number + turn) % 4 == 0:
                edit.cancel()
            ends.append((wish["seed"], edit.is_cancelled, list(events)))

    with Engine(pipeline, limits()) as engine:
        callers = [threading.Thread(target=caller, args=(number, engine)) for number in range(6)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join(60)
        assert engine.drain(60)
        assert sum(engine.state().outcomes.values()) == len(ends) == 18
    for seed, cancelled, events in ends:
        assert sum(not isinstance(event, ScaleDone) for event in events) == 1
        if isinstance(events[-1], Finished):
            assert np.array_equal(np.asarray(events[-1].output.images[0]), alone[seed])
        else:
            assert cancelled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_shared_batches_on_a_gpu_give_the_results_of_single_edits():
    pipeline = toy_pipeline().to("cuda")
    alone = [pipeline(**wish) for wish in wishes()]
    with Engine(pipeline, EngineLimits.of(pipeline)) as engine:
        queues = [submitted(engine, wish)[1] for wish in wishes()]
        for one, events in zip(alone, queues, strict=True):
            difference = np.asarray(one.images[0]).astype(int) - np.asarray(events.result().output.images[0])
            assert np.abs(difference).mean() < 1
