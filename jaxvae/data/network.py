"""One quick question before a download: does the server answer at all?"""

import queue
import threading
from urllib.parse import urlsplit

PROBE_SECONDS = 2.5


def why_unreachable(url: str, seconds: float = PROBE_SECONDS) -> str | None:
    """Return None when `url` answers a HEAD request within `seconds`, else the reason in a few words.

    Goes through HTTP(S)_PROXY as the download itself would. It runs in a thread of its own that is left behind when
    time is up, because a DNS lookup knows no time limit.
    """
    import requests  # here: 0.1 s that `--help` need not pay

    host = urlsplit(url).hostname

    def ask() -> str | None:
        try:
            response = requests.head(url, timeout=seconds, allow_redirects=True)
        except requests.RequestException as error:
            return f"no connection to {host} ({type(error).__name__})"
        return None if response.ok else f"{host} answered HTTP {response.status_code}"

    answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(ask()), daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return f"no connection to {host} (no answer in {seconds} s)"
