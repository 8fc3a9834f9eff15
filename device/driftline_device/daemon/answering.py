"""Answer, reply, then count and sample: the one way that every question goes, wherever it comes
from.

Any thread may ask. The runtime shares the model; sampler, events and the sampling policy belong to
whoever holds `_sampling`. A reply leaves before either sees the answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import structlog

from driftline_device.daemon.listener import AbandonedError, AnswerListener
from driftline_device.daemon.parts import Parts
from driftline_device.escalation.records import Asked
from driftline_device.history.marks import Mark
from driftline_device.history.records import PastAnswer
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.turns import Turns
from driftline_device.sampling.decision import Decision, Outcome
from driftline_device.sinks.event import AnswerRecord
from driftline_device.updates.watch import uncertainty
from driftline_shared.bounds import check_question
from driftline_shared.errors import DataError, DriftlineError, Reason, SampleError
from driftline_shared.exact_match import is_correct
from driftline_shared.host.durable import error_text
from driftline_shared.ids import new_sample_id
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.wire import EncodedSample

RETRY_PAUSES_S = (0.0, 0.2, 1.0)
"""Waits before a question is asked again while a new version is under watch: time to roll back."""

SWAP_S = 30.0
"""Longest wait for a version that was just swapped in to be under watch: a disk may be slow."""

MOST_UNSAMPLED = 2
"""Questions of other threads between their turn at the model and the end of their sampling. Where
sampling is slower than those who ask, they wait for it, rather than that samples pile up."""

NOT_WRITTEN_FIX = "Answers go on; make room, or let the device's user write there."

_log = structlog.get_logger(__name__)


def guard(what: str, call: Callable[[], None]) -> None:
    """Nothing in the background may stop the device: what `call` raises is logged."""
    try:
        call()
    except OSError as error:  # of a disk, mostly: a fact about the machine, no fault of ours
        _log.error("daemon.not_written", what=what, error=error_text(error), fix=NOT_WRITTEN_FIX)
    except Exception:
        _log.exception("daemon.guarded", what=what)


class Answering:
    """The answers of one device. `paused`: they are neither sampled nor sent."""

    def __init__(self, parts: Parts, *, between_tries: Callable[[], None] | None = None) -> None:
        """`between_tries`: of a device with steps, whose updates have no thread of their own: gives
        a version under watch the time to be left. A new policy then waits for `obey`.
        """
        self._parts = parts
        self._between_tries = between_tries
        self._sampling = threading.Lock()
        self._asks = threading.Condition()
        self._unsampled = Turns(places=MOST_UNSAMPLED)
        self._num_asks = 0
        self._is_open = False
        self._num_counted = 0
        self._keep_due_s = 0.0
        # At most one waits; a deque, since it comes from another thread.
        self._policies: deque[SamplingPolicy] = deque(maxlen=1)
        self._logged_refused_images = False
        self.paused = False

    # -- a source's questions ---------------------------------------------------------------------

    def handle(self, batch: Sequence[Question], *, segment: str, keep_every_s: float) -> int:
        """Answer `batch` at once; what the model fails on is logged and counted. How many questions
        were refused, for a fault of their own.
        """
        num_refused = 0
        for question, answer in self._answer(batch):
            if isinstance(answer, DataError):
                num_refused += 1
                _log.warning(
                    "question.refused", place=question.place, error=str(answer), fix=answer.fix
                )
            elif answer is None:
                self._parts.meter.errored()
                _log.error("answer.failed", place=question.place)
            else:
                self._finish(question, answer, segment)
        self._keep_sometimes(keep_every_s)
        return num_refused

    # -- questions of other threads ---------------------------------------------------------------

    def open(self) -> None:
        """Take questions from other threads."""
        self._is_open = True

    def close(self, timeout_s: float) -> bool:
        """Take no more; whether those under way ended within `timeout_s`."""
        with self._asks:
            self._is_open = False
            return self._asks.wait_for(lambda: self._num_asks == 0, timeout_s)

    def ask(
        self,
        question: Question,
        listener: AnswerListener | None = None,
        *,
        segment: str,
        keep_every_s: float,
        wait_s: float = 0.0,
    ) -> Answer:
        """One question, from any thread: `listener` has its answer before it is sampled; where it
        waits for the teacher's, after, at most `wait_s` later.

        Raises DataError for a question that cannot be asked; DriftlineError: `stopping` before
        `open` and after `close`, `internal` where the model fails on it again and again. Raises
        AbandonedError if `listener` does.
        """
        check_question(question.text)
        with self._asks:
            if not self._is_open:
                raise DriftlineError("the device takes no questions now", reason=Reason.STOPPING)
            self._num_asks += 1
        try:
            waits = self._parts.escalation is not None and wait_s > 0
            waiting = listener if waits and listener is not None and listener.waits else None
            with self._unsampled:
                answer, asked = self._ask(question, listener, segment, waiting is not None)
            if waiting is not None:
                self._reply_late(waiting, answer, asked, wait_s)
            self._keep_sometimes(keep_every_s)
            return answer
        finally:
            with self._asks:
                self._num_asks -= 1
                self._asks.notify_all()

    def _ask(
        self, question: Question, listener: AnswerListener | None, segment: str, waits: bool
    ) -> tuple[Answer, bytes | None]:
        """The answer, and the id of its sample where that asks for the teacher's. `waits`: the
        listener gets no answer yet.
        """
        answer = self._answer_one(question, (0.0, *RETRY_PAUSES_S), listener)
        if answer is None:
            self._parts.meter.errored()
            _log.error("answer.failed", place=question.place)
            raise DriftlineError("the model failed on this question")
        answer = replace(answer, id=self._new_id())
        if listener is not None and not waits:
            guard("reply", partial(listener.on_answer, answer))
        try:
            sample = self._finish(question, answer, segment, waits=waits)
        except Exception:
            if not waits:  # else it is worse to lose the answer
                raise
            _log.exception("answer.not_finished")
            sample = None
        asks = waits and sample is not None and sample.sample.wants_answer
        return answer, sample.id if asks and sample is not None else None

    def _reply_late(
        self, listener: AnswerListener, answer: Answer, asked: bytes | None, wait_s: float
    ) -> None:
        """Wait for the teacher's answer to the sample `asked`; holds neither model nor sampling."""
        correction, desk = None, self._parts.escalation
        if asked is not None and desk is not None:
            correction = desk.wait(asked, wait_s, listener.on_wait)
        guard("reply", partial(listener.on_answer, answer, correction))

    # -- what the owner said ----------------------------------------------------------------------

    def teach(self, mark: Mark) -> bool:
        """Make a sample of an answer about which the owner said what is right; whether it is done
        with, sent or unfit. False: the day's bytes are spent, or the disk is full: later.
        """
        if mark.picture is None:
            return True
        answer = self._parts.runtime.answer([Question(image=mark.picture, text=mark.question)])[0]
        with self._sampling:
            try:
                sample = self._parts.sampler.teach(
                    mark.question, answer, self._parts.runtime, owner_answer=mark.known_answer
                )
            except SampleError as error:
                _log.warning("mark.not_taught", answer=mark.id, error=str(error))
                return True
            if sample is None or not self._parts.spool.append(sample):
                return False
        _log.info("mark.taught", answer=mark.id, sample=sample.id.hex(), bytes=len(sample.body))
        if self._parts.link is not None:
            self._parts.link.wake()
        return True

    # -- sampling ---------------------------------------------------------------------------------

    def take_policy(self, policy: SamplingPolicy, *, newest: bool = True) -> None:
        """Obeyed from the next answer on; one that is not the `newest` gives way to another."""
        if newest or not self._policies:
            self._policies.append(policy)

    def obey(self) -> None:
        """Obey a policy that came, now rather than at the next answer."""
        with self._sampling:
            if self._policies:
                self._obey(self._policies.popleft())

    def log_refusals(self) -> None:
        """Say once what of the policy this device does not do: send images that its owner keeps."""
        sampler = self._parts.sampler
        if sampler.images_refused and not self._logged_refused_images:
            self._logged_refused_images = True
            _log.warning(
                "policy.images_stay",
                revision=sampler.policy.revision,
                fix="Nothing to do, or set images_may_leave = true to let parts of images leave.",
            )

    def keep(self) -> None:
        """Write down what a restart must not forget of sampling."""
        with self._sampling:
            guard("sampling", partial(self._parts.state_files.keep_sampling, self._parts.sampler))

    def _keep_sometimes(self, every_s: float) -> None:
        now_s = self._parts.clock.monotonic_s()
        if now_s >= self._keep_due_s:
            self._keep_due_s = now_s + every_s
            self.keep()

    def _new_id(self) -> str:
        return new_sample_id(self._parts.clock).hex()

    # -- one answer -------------------------------------------------------------------------------

    def _answer(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[Question, Answer | DataError | None]]:
        """Each question with its answer; with DataError where the fault is the question's, with
        None only where the model fails on it again and again.
        """
        try:
            for question in questions:
                check_question(question.text)
            answers = list(self._parts.runtime.answer(questions))
        except DataError:
            # One of them; which, is seen when each is asked alone.
            pauses_s: tuple[float, ...] = (0.0, *RETRY_PAUSES_S)
        except Exception:
            _log.exception("answer.batch_raised", num_questions=len(questions))
            self._parts.applier.errored()
            pauses_s = RETRY_PAUSES_S
        else:
            yield from zip(questions, answers, strict=True)
            return
        for question in questions:
            try:
                check_question(question.text)
                yield question, self._answer_one(question, pauses_s, None)
            except DataError as error:
                yield question, error

    def _answer_one(
        self, question: Question, pauses_s: Sequence[float], listener: AnswerListener | None
    ) -> Answer | None:
        on_token = None if listener is None else (lambda _row, text: listener.on_text(text))
        for pause_s in pauses_s:
            if pause_s and not self._is_under_watch():
                break
            if pause_s and self._between_tries is not None:
                self._between_tries()
            elif pause_s:  # sleeping for no time gives the processor away
                self._parts.clock.sleep(pause_s)
            try:
                if listener is not None:
                    listener.on_start()
                return self._parts.runtime.answer([question], on_token=on_token)[0]
            except (AbandonedError, DataError):
                raise  # neither is the model's fault: not tried again, not counted against it
            except Exception as error:
                _log.error("answer.raised", error=f"{type(error).__name__}: {error}")
                self._parts.applier.errored()
        return None

    def _is_under_watch(self) -> bool:
        applier = self._parts.applier
        return applier.wait_steady(SWAP_S) and applier.state.watching

    def _finish(
        self, question: Question, answer: Answer, segment: str, *, waits: bool = False
    ) -> EncodedSample | None:
        """Sample and count; the sample that lies in the spool, if any."""
        answer = answer if answer.id else replace(answer, id=self._new_id())
        self._parts.applier.answered(question, answer)
        spans = self._parts.spans
        with self._sampling:
            began_s = 0.0 if spans is None else self._parts.clock.now_s()
            sample, decision = self._sample(question, answer, segment, waits)
            if spans is not None and sample is not None:
                guard("spans", partial(spans.sampled, sample, began_s=began_s))
            self._count(question, answer, sample, segment)
            trace = self._parts.trace
            if trace is not None:
                record = partial(trace.answered, question, answer, segment=segment)
                policy = self._parts.sampler.policy
                guard("trace", partial(record, decision=decision, sample=sample, policy=policy))
        return sample

    def _sample(
        self, question: Question, answer: Answer, segment: str, waits: bool
    ) -> tuple[EncodedSample | None, Decision]:
        """Consider the answer for sending; the sample if it lies in the spool now, and why."""
        if self.paused:
            return None, Decision(outcome=Outcome.PAUSED)
        sampler = self._parts.sampler
        try:
            if self._policies and self._between_tries is None:
                self._obey(self._policies.popleft())
            sample = sampler.consider(question.text, answer, self._parts.runtime, question.image)
            if sample is None:
                return None, sampler.last
            self._escalate(question, answer, sample, segment, waits)
            if not self._parts.spool.append(sample):
                sampler.not_kept()
                if self._parts.escalation is not None:
                    self._parts.escalation.withdraw(sample.id)
                return None, replace(sampler.last, outcome=Outcome.NOT_KEPT)
        except Exception:
            _log.exception("sample.raised")
            return None, Decision(outcome=Outcome.ERROR)
        if self._parts.escalation is not None and sample.sample.wants_answer:
            self._parts.escalation.kept(sample.id)
        if self._parts.link is not None:
            self._parts.link.wake()
        return sample, sampler.last

    def _escalate(
        self,
        question: Question,
        answer: Answer,
        sample: EncodedSample,
        segment: str,
        waits: bool,
    ) -> None:
        """Note what `sample` asks of the teacher, before it can be on its way."""
        if self._parts.escalation is None or not sample.sample.wants_answer:
            return
        asked = Asked(
            sample=sample.id.hex(),
            answer_id=answer.id,
            unix_s=self._parts.clock.now_s(),
            feed=question.feed or segment,
            source=question.source or segment,
            place=question.place,
            question=question.text,
            answer=answer.text,
            version=answer.version,
            num_bytes=len(sample.body),
        )
        self._parts.escalation.ask(asked, waits=waits)

    def _obey(self, policy: SamplingPolicy) -> None:
        dial = self._parts.dial
        try:
            self._parts.sampler.set_policy(policy if dial is None else dial.narrowed(policy))
            _log.info("policy.obeyed", revision=policy.revision)
        except DriftlineError as error:
            _log.error("policy.refused", revision=policy.revision, error=str(error), fix=error.fix)
        self.log_refusals()

    def _count(
        self, question: Question, answer: Answer, sample: EncodedSample | None, segment: str
    ) -> None:
        truth = question.truth
        correct = None if truth is None else is_correct(answer.text, truth)
        domain = question.domain or segment
        score = uncertainty(answer)
        self._parts.meter.answered(domain=domain, correct=correct, uncertainty=score)
        self._num_counted += 1
        record = AnswerRecord(
            id=answer.id,
            unix_s=self._parts.clock.now_s(),
            feed=question.feed or segment,
            source=question.source or segment,
            place=question.place,
            question=question.text,
            answer=answer.text,
            uncertainty=score,
            version=answer.version,
            sample=sample.id.hex() if sample else None,
            number=self._num_counted,
            domain=domain,
            correct=correct,
            num_bytes=len(sample.body) if sample else 0,
        )
        guard("publish", partial(self._parts.publisher.answered, record))
        if self._parts.history is not None:
            past = PastAnswer.of(record)
            guard("history", partial(self._parts.history.add, past, question.image))
