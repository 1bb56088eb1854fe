"""Signals to processes of their own: in order, at once, and where an epoch does not end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxvae import interrupt

HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
CHILD = """
import signal, sys, time
from jaxvae import interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell lets its background jobs ignore
interrupt.GRACE = 1.5
try:
    with interrupt.heeding_signals():
        print('ready', flush=True)
        {body}
except interrupt.Interrupted as error:
    print('ended', error.code, flush=True)
    sys.exit(error.code)
"""
PLAIN = "time.sleep(30)"
IN_ORDER = """with interrupt.in_order('continue so'):
            while not interrupt.asked(): time.sleep(0.05)
            time.sleep(0.7)  # an epoch that ends sooner than the thread has read the signal needs no words
            print('saved', flush=True)"""
BUSY = """with interrupt.in_order('continue so'):
            import ctypes; libc = ctypes.CDLL(None)
            while True: libc.usleep(20_000_000)  # a long call, as of a compiled program"""


def signalled(body, *signals, pause=0.2):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(body=body)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout.readline() == "ready\n"
    time.sleep(pause)
    begun = time.monotonic()
    for number in signals:
        child.send_signal(number)
        time.sleep(pause)
    try:
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    return child.returncode, out, err, time.monotonic() - begun


@pytest.fixture
def heard():
    """Ctrl-C is not ignored, as it is where the tests are a shell's background job."""
    before = [signal.signal(number, handler) for number, handler in HANDLERS.items()]
    yield
    for number, handler in zip(HANDLERS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_what_need_not_be_finished(number, code):
    found, out, err, took = signalled(PLAIN, number)
    assert (found, out, err) == (code, f"ended {code}\n", "")
    assert took < 1.5


def test_a_signal_waits_for_what_is_done_in_order():
    code, out, err, _ = signalled(IN_ORDER, signal.SIGTERM)
    assert (code, out) == (143, "saved\nended 143\n")
    assert "ending after this epoch" in err


def test_what_takes_too_long_is_ended_with_the_last_words():
    code, out, err, took = signalled(BUSY, signal.SIGTERM)
    assert (code, out) == (143, "")
    assert err.splitlines()[-1] == "continue so"
    assert 1.4 < took < 4


def test_a_second_signal_ends_at_once():
    code, out, err, took = signalled(BUSY, signal.SIGTERM, signal.SIGINT)
    assert (code, out) == (130, "")
    assert "continue so" not in err
    assert took < 1.4


SWALLOWED = """
        try: time.sleep(30)
        except BaseException: pass  # as a library may"""


def test_a_signal_that_was_swallowed_ends_all_the_same():
    code, out, err, took = signalled(SWALLOWED, signal.SIGTERM)
    assert (code, out, err) == (143, "ended 143\n", "")
    assert took < 1.5


def test_a_signal_while_the_process_ends_because_of_another_is_no_traceback():
    code, out, err, _ = signalled("import atexit; atexit.register(time.sleep, 3); time.sleep(30)", *[signal.SIGINT] * 3)
    assert (code, err) == (130, "")
    assert out in ("", "ended 130\n")


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.heeding_signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is interrupt.handle
    finally:
        signal.signal(signal.SIGINT, before)


def test_afterwards_all_is_as_before(heard):
    before = [signal.getsignal(number) for number in interrupt.SIGNALS]
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        with interrupt.heeding_signals():
            assert interrupt.asked() is None
    assert [signal.getsignal(number) for number in interrupt.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert files == (len(os.listdir("/proc/self/fd")) if files else 0)


def test_a_signal_between_the_last_look_and_the_end_is_not_lost(heard):
    with pytest.raises(interrupt.Interrupted) as error, interrupt.heeding_signals(), interrupt.in_order("x"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert error.value.code == 143
    assert interrupt.asked() is None  # the next run was not meant
